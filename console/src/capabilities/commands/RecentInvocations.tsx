import type { CommandInvocation } from "@aws-sdk/client-ssm";
import { Link } from "../../ui/links";
import { Nothing, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { CommandStatus } from "./CommandStatus";
import { readInvocations } from "./queries";

/** What was run on one node. */
export function RecentInvocations({ nodeId }: { nodeId: string }) {
  return (
    <ResourceTable<CommandInvocation>
      variant="container"
      name="node-commands"
      title="Commands"
      queryKey={["commands", "of node", nodeId]}
      read={({ token, size }) => readInvocations({ InstanceId: nodeId }, { filters: [], token, size })}
      refresh={5_000}
      sizes={[10]}
      id={(each) => each.CommandId ?? ""}
      columns={[
        {
          id: "id",
          header: "Command ID",
          width: 330,
          cell: (each) => (
            <Link to={`/commands/${each.CommandId}?node=${nodeId}`}>
              <span className="mono">{each.CommandId}</span>
            </Link>
          ),
        },
        { id: "status", header: "Status", width: 170, cell: (each) => <CommandStatus status={each.StatusDetails} /> },
        { id: "document", header: "Document", width: 220, cell: (each) => each.DocumentName },
        { id: "at", header: "Sent", width: 150, cell: (each) => <Time at={each.RequestedDateTime} /> },
      ]}
      empty={<Nothing title="No commands were run on this node" />}
    />
  );
}
