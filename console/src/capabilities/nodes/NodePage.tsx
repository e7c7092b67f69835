import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useParams } from "react-router";
import { Copyable } from "../../ui/Copyable";
import { Failure } from "../../ui/Failure";
import { Link } from "../../ui/links";
import { Nothing } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { RecentInvocations } from "../commands/RecentInvocations";
import { RecentSessions } from "../sessions/RecentSessions";
import { useConnect } from "../sessions/useConnect";
import { EditTags } from "./EditTags";
import { Channel, Ping, Tags } from "./NodeStatus";
import { channelQuery, type Node, nodeName, nodeQuery } from "./queries";

export function NodePage() {
  const { nodeId = "" } = useParams();
  const { data: node, error, refetch, isPending } = useQuery(nodeQuery(nodeId));
  if (error && !node) return <Failure error={error} retry={() => refetch()} />;
  if (isPending) return <Spinner size="large" />;
  if (!node)
    return (
      <Nothing title={`There is no node ${nodeId}`}>
        <Link to="/nodes">To the nodes</Link>
      </Nothing>
    );
  return <Found node={node} />;
}

function Found({ node }: { node: Node }) {
  const [tagging, setTagging] = useState(false);
  const connect = useConnect();
  const navigate = useNavigate();
  const channel = useQuery(channelQuery(node.InstanceId));
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button onClick={() => setTagging(true)}>Edit tags</Button>
              <Button onClick={() => navigate(`/commands/run?node=${node.InstanceId}`)}>Run command</Button>
              <Button
                variant="primary"
                disabled={channel.data === false}
                disabledReason="The node is not connected"
                loading={connect.pending}
                onClick={() => connect.to(node.InstanceId, nodeName(node))}
              >
                Connect
              </Button>
            </SpaceBetween>
          }
        >
          {nodeName(node)}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Container header={<Header variant="h2">Overview</Header>}>
          <KeyValuePairs
            columns={4}
            minColumnWidth={180}
            items={[
              { label: "Node ID", value: <Copyable text={node.InstanceId} /> },
              { label: "Ping status", value: <Ping node={node} /> },
              { label: "Channel", value: <Channel nodeId={node.InstanceId} /> },
              { label: "Last seen", value: <Time at={node.LastPingDateTime} /> },
              { label: "Computer name", value: node.ComputerName || "–" },
              { label: "Address", value: node.IPAddress || "–" },
              {
                label: "Platform",
                value: [node.PlatformName || node.PlatformType, node.PlatformVersion].filter(Boolean).join(" ") || "–",
              },
              { label: "Agent version", value: node.AgentVersion || "–" },
              { label: "Role", value: node.IamRole || "–" },
              { label: "Activation", value: <Copyable text={node.ActivationId} /> },
              { label: "Registered", value: <Time at={node.RegistrationDate} exact /> },
              { label: "Tags", value: <Tags nodeId={node.InstanceId} most={20} /> },
            ]}
          />
        </Container>
        <RecentInvocations nodeId={node.InstanceId} />
        <RecentSessions nodeId={node.InstanceId} />
      </SpaceBetween>
      {tagging && <EditTags nodeId={node.InstanceId} close={() => setTagging(false)} />}
    </ContentLayout>
  );
}
