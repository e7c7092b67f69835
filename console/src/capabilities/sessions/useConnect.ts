import { useNavigate } from "react-router";
import { TERMINALS } from "./places";

/** Open a terminal on a node and go there. */
export function useConnect() {
  const navigate = useNavigate();
  return {
    pending: false,
    to: async (nodeId: string, title: string) => {
      navigate(TERMINALS);
      const { openTerminal } = await import("./terminals");
      openTerminal(nodeId, title);
    },
  };
}
