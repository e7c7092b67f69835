import type { Session } from "@aws-sdk/client-ssm";
import { Nothing, ResourceTable } from "../../ui/ResourceTable";
import { readSessions } from "./queries";
import { SESSION_COLUMNS } from "./sessionColumns";

/** Sessions on one node: those that are open, then those that have ended. */
export function RecentSessions({ nodeId }: { nodeId: string }) {
  return (
    <ResourceTable<Session>
      variant="container"
      name="node-sessions"
      title="Sessions"
      queryKey={["sessions", "of node", nodeId]}
      read={async ({ token, size }) => {
        const asked = { filters: [{ key: "Target", value: nodeId }], size };
        const open = token ? { items: [] } : await readSessions("Active", asked);
        const ended = await readSessions("History", { ...asked, token });
        return { items: [...open.items, ...ended.items], next: ended.next };
      }}
      refresh={5_000}
      sizes={[10]}
      id={(each) => each.SessionId ?? ""}
      columns={SESSION_COLUMNS.filter(({ id }) => id !== "node")}
      empty={<Nothing title="Nobody had a session on this node" />}
    />
  );
}
