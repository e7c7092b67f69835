/** Every capability that has pages here; the shell knows of them by this list alone. */
import type { RouteObject } from "react-router";
import { commands } from "../capabilities/commands";
import { nodes } from "../capabilities/nodes";
import { sessions } from "../capabilities/sessions";

export type ConsoleCapability = {
  /** As the server's. */
  name: string;
  /** The heading in the navigation that its links stand under. */
  section: string;
  links: { text: string; to: string }[];
  /** Paths are those below /console/. */
  routes: RouteObject[];
};

export const CAPABILITIES: ConsoleCapability[] = [nodes, sessions, commands];

/** Where somebody begins. */
export const HOME = "/nodes";
