import type { ConsoleCapability } from "../../shell/capabilities";
import { page } from "../../shell/page";
import { TERMINALS } from "./places";

export const sessions: ConsoleCapability = {
  name: "sessions",
  section: "Session Manager",
  links: [
    { text: "Terminals", to: TERMINALS },
    { text: "Sessions", to: "/sessions" },
    { text: "Search recordings", to: "/session-search" },
    { text: "Preferences", to: "/session-preferences" },
  ],
  routes: [
    { path: TERMINALS.slice(1), element: null }, // the shell shows them, so that they stay while other pages are looked at
    { path: "sessions", element: page(async () => (await import("./SessionsPage")).SessionsPage) },
    { path: "sessions/:sessionId", element: page(async () => (await import("./SessionPage")).SessionPage) },
    { path: "session-search", element: page(async () => (await import("./SearchPage")).SearchPage) },
    {
      path: "session-preferences",
      element: page(async () => (await import("./PreferencesPage")).PreferencesPage),
    },
  ],
};
