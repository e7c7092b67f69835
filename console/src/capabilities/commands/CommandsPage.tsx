import type { Command } from "@aws-sdk/client-ssm";
import Button from "@cloudscape-design/components/button";
import { useNavigate } from "react-router";
import { Link } from "../../ui/links";
import { type Column, Nothing, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { CommandStatus } from "./CommandStatus";
import { readCommands } from "./queries";

const COLUMNS: Column<Command>[] = [
  {
    id: "id",
    header: "Command ID",
    width: 330,
    cell: (each) => (
      <Link to={`/commands/${each.CommandId}`}>
        <span className="mono">{each.CommandId}</span>
      </Link>
    ),
  },
  { id: "status", header: "Status", width: 170, cell: (each) => <CommandStatus status={each.StatusDetails} /> },
  { id: "document", header: "Document", width: 220, cell: (each) => each.DocumentName },
  { id: "comment", header: "Comment", width: 200, cell: (each) => each.Comment || "–" },
  { id: "at", header: "Sent", width: 150, cell: (each) => <Time at={each.RequestedDateTime} /> },
  { id: "targets", header: "Nodes", width: 90, cell: (each) => each.TargetCount ?? 0 },
  { id: "done", header: "Ended", width: 90, cell: (each) => each.CompletedCount ?? 0 },
  { id: "errors", header: "Errors", width: 90, cell: (each) => each.ErrorCount ?? 0 },
];

export function CommandsPage() {
  const navigate = useNavigate();
  const run = () => navigate("/commands/run");
  return (
    <ResourceTable
      name="commands"
      title="Commands"
      queryKey={["commands", "list"]}
      read={readCommands}
      columns={COLUMNS}
      id={(each) => each.CommandId ?? ""}
      refresh={5_000}
      properties={[
        {
          key: "Status",
          label: "Status",
          group: "Statuses",
          values: ["Pending", "InProgress", "Success", "Failed", "TimedOut", "Cancelled", "Cancelling"],
        },
        { key: "DocumentName", label: "Document" },
        { key: "ExecutionStage", label: "Stage", values: ["Executing", "Complete"] },
        { key: "InvokedAfter", label: "Sent after", group: "Sent after, such as 2026-07-07T00:00:00Z" },
        { key: "InvokedBefore", label: "Sent before", group: "Sent before, such as 2026-07-07T00:00:00Z" },
      ]}
      actions={() => (
        <Button variant="primary" onClick={run}>
          Run a command
        </Button>
      )}
      empty={
        <Nothing title="No commands yet">
          <span>Run a script on one node or on all of them, and see what each of them answers.</span>
          <Button onClick={run}>Run a command</Button>
        </Nothing>
      }
    />
  );
}
