import type { Session } from "@aws-sdk/client-ssm";
import StatusIndicator, { type StatusIndicatorProps } from "@cloudscape-design/components/status-indicator";
import { Link } from "../../ui/links";
import type { Column, Property } from "../../ui/ResourceTable";
import { lasted, Time } from "../../ui/Time";

const TYPES: Record<string, StatusIndicatorProps.Type> = {
  Connected: "success",
  Connecting: "in-progress",
  Disconnected: "pending",
  Terminating: "in-progress",
  Terminated: "stopped",
  Failed: "error",
};

export function SessionStatus({ session }: { session: Session }) {
  return <StatusIndicator type={TYPES[session.Status ?? ""] ?? "info"}>{session.Status}</StatusIndicator>;
}

function Lasted({ session }: { session: Session }) {
  if (!session.StartDate || !session.EndDate) return <>–</>;
  return <>{lasted(session.EndDate.getTime() - session.StartDate.getTime())}</>;
}

const owner = (session: Session) => session.Owner?.split(/[:/]/).at(-1) ?? "–";

export const SESSION_COLUMNS: Column<Session>[] = [
  {
    id: "id",
    header: "Session ID",
    width: 260,
    cell: (each) => (
      <Link to={`/sessions/${each.SessionId}`}>
        <span className="mono">{each.SessionId}</span>
      </Link>
    ),
  },
  { id: "status", header: "Status", width: 140, cell: (each) => <SessionStatus session={each} /> },
  { id: "node", header: "Node", width: 220, cell: (each) => <Link to={`/nodes/${each.Target}`}>{each.Target}</Link> },
  { id: "owner", header: "Owner", width: 150, cell: owner },
  { id: "start", header: "Started", width: 150, cell: (each) => <Time at={each.StartDate} /> },
  { id: "lasted", header: "Lasted", width: 110, cell: (each) => <Lasted session={each} /> },
  { id: "reason", header: "Reason", width: 180, cell: (each) => each.Reason || "–" },
  { id: "document", header: "Document", hidden: true, cell: (each) => each.DocumentName || "–" },
];

export const SESSION_PROPERTIES: Property[] = [
  { key: "Target", label: "Node ID" },
  { key: "Owner", label: "Owner", group: "ARNs of owners" },
  {
    key: "Status",
    label: "Status",
    group: "Statuses",
    values: ["Connected", "Connecting", "Disconnected", "Terminating", "Terminated", "Failed"],
  },
  { key: "SessionId", label: "Session ID" },
  { key: "InvokedAfter", label: "Started after", group: "Started after, such as 2026-07-07T00:00:00Z" },
  { key: "InvokedBefore", label: "Started before", group: "Started before, such as 2026-07-07T00:00:00Z" },
];
