import type { ConsoleCapability } from "../../shell/capabilities";
import { page } from "../../shell/page";

export const commands: ConsoleCapability = {
  name: "commands",
  section: "Run Command",
  links: [
    { text: "Commands", to: "/commands" },
    { text: "Run a command", to: "/commands/run" },
  ],
  routes: [
    { path: "commands", element: page(async () => (await import("./CommandsPage")).CommandsPage) },
    { path: "commands/run", element: page(async () => (await import("./RunPage")).RunPage) },
    { path: "commands/:commandId", element: page(async () => (await import("./CommandPage")).CommandPage) },
  ],
};
