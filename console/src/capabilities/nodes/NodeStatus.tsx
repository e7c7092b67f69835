import Badge from "@cloudscape-design/components/badge";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQuery } from "@tanstack/react-query";
import { channelQuery, type Node, tagsQuery } from "./queries";

export function Ping({ node }: { node: Node }) {
  return node.PingStatus === "Online" ? (
    <StatusIndicator type="success">Online</StatusIndicator>
  ) : (
    <StatusIndicator type="warning">Connection lost</StatusIndicator>
  );
}

/** Whether commands and sessions reach the node at once. */
export function Channel({ nodeId }: { nodeId: string }) {
  const { data, error } = useQuery(channelQuery(nodeId));
  if (error || data === null) return <StatusIndicator type="stopped">Unknown</StatusIndicator>;
  if (data === undefined) return <StatusIndicator type="pending">…</StatusIndicator>;
  return data ? (
    <StatusIndicator type="success">Connected</StatusIndicator>
  ) : (
    <StatusIndicator type="stopped">Not connected</StatusIndicator>
  );
}

export function Tags({ nodeId, most = 3 }: { nodeId: string; most?: number }) {
  const { data = [] } = useQuery(tagsQuery(nodeId));
  if (!data.length) return <>–</>;
  return (
    <SpaceBetween direction="horizontal" size="xxs">
      {data.slice(0, most).map(({ Key, Value }) => (
        <Badge key={Key}>{Value ? `${Key}: ${Value}` : Key}</Badge>
      ))}
      {data.length > most && <span>+{data.length - most}</span>}
    </SpaceBetween>
  );
}
