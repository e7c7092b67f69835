import type { ConsoleCapability } from "../../shell/capabilities";
import { page } from "../../shell/page";

export const nodes: ConsoleCapability = {
  name: "nodes",
  section: "Nodes",
  links: [
    { text: "Nodes", to: "/nodes" },
    { text: "Activations", to: "/activations" },
  ],
  routes: [
    { path: "nodes", element: page(async () => (await import("./NodesPage")).NodesPage) },
    { path: "nodes/:nodeId", element: page(async () => (await import("./NodePage")).NodePage) },
    { path: "activations", element: page(async () => (await import("./ActivationsPage")).ActivationsPage) },
  ],
};
