/** How terminals look, those that people work in and those that they watch. */
import type { ITerminalOptions } from "@xterm/xterm";

const THEME = {
  background: "#0b1118",
  foreground: "#dfe7ee",
  cursor: "#5fb4ff",
  selectionBackground: "#2b5d8a",
  black: "#45535f",
  brightBlack: "#8795a3",
  red: "#ff7b72",
  brightRed: "#ffa198",
  green: "#7ee787",
  brightGreen: "#a5f3ab",
  yellow: "#e3b341",
  brightYellow: "#f2cc60",
  blue: "#79b8ff",
  brightBlue: "#a5d0ff",
  magenta: "#d2a8ff",
  brightMagenta: "#e2c5ff",
  cyan: "#56d4dd",
  brightCyan: "#84e4ea",
  white: "#c9d5e0",
  brightWhite: "#ffffff",
};

export const appearance = (): ITerminalOptions => ({
  allowProposedApi: true,
  cursorBlink: true,
  fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--pilothouse-mono"),
  fontSize: 14,
  lineHeight: 1.2,
  scrollback: 10_000,
  theme: THEME,
  linkHandler: { activate: () => undefined }, // a node's links are text
});
