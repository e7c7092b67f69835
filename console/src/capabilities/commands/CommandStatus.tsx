import StatusIndicator, { type StatusIndicatorProps } from "@cloudscape-design/components/status-indicator";

const TYPES: Record<string, StatusIndicatorProps.Type> = {
  Success: "success",
  Pending: "pending",
  InProgress: "in-progress",
  Delayed: "pending",
  Cancelling: "in-progress",
  Cancelled: "stopped",
  Terminated: "stopped",
};

/** `ExecutionTimedOut` as `Execution timed out`. */
export const words = (name: string) => {
  const apart = name.replace(/([a-z])([A-Z])/g, "$1 $2");
  return apart.charAt(0) + apart.slice(1).toLowerCase();
};

export function CommandStatus({ status = "" }: { status?: string }) {
  return <StatusIndicator type={TYPES[status] ?? "error"}>{words(status)}</StatusIndicator>;
}
