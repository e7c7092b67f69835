/** Where the open terminals are shown. */
export const TERMINALS = "/terminals";
