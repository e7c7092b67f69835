import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { Confirm } from "../../ui/Confirm";
import { Copyable } from "../../ui/Copyable";
import { Link } from "../../ui/links";
import { say } from "../../ui/notices";
import { type Column, Nothing, type Property, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { useConnect } from "../sessions/useConnect";
import { AddNode } from "./AddNode";
import { EditTags } from "./EditTags";
import { Channel, Ping, Tags } from "./NodeStatus";
import { deregister, type Node, nodeName, readNodes } from "./queries";

const COLUMNS: Column<Node>[] = [
  {
    id: "name",
    header: "Name",
    width: 150,
    cell: (node) => <Link to={`/nodes/${node.InstanceId}`}>{nodeName(node)}</Link>,
  },
  { id: "id", header: "Node ID", width: 225, cell: (node) => <Copyable text={node.InstanceId} /> },
  { id: "ping", header: "Ping status", width: 130, cell: (node) => <Ping node={node} /> },
  { id: "channel", header: "Channel", width: 140, cell: (node) => <Channel nodeId={node.InstanceId} /> },
  {
    id: "platform",
    header: "Platform",
    width: 190,
    cell: (node) => [node.PlatformName || node.PlatformType, node.PlatformVersion].filter(Boolean).join(" ") || "–",
  },
  { id: "tags", header: "Tags", width: 200, cell: (node) => <Tags nodeId={node.InstanceId} /> },
  { id: "agent", header: "Agent", width: 120, cell: (node) => node.AgentVersion || "–" },
  { id: "ip", header: "Address", width: 140, cell: (node) => node.IPAddress || "–" },
  { id: "seen", header: "Last seen", width: 150, cell: (node) => <Time at={node.LastPingDateTime} /> },
  { id: "computer", header: "Computer name", hidden: true, cell: (node) => node.ComputerName || "–" },
  { id: "role", header: "Role", hidden: true, cell: (node) => node.IamRole || "–" },
  { id: "registered", header: "Registered", hidden: true, cell: (node) => <Time at={node.RegistrationDate} exact /> },
];

const PROPERTIES: Property[] = [
  { key: "PingStatus", label: "Ping status", group: "Ping statuses", values: ["Online", "ConnectionLost"] },
  { key: "PlatformTypes", label: "Platform", values: ["Linux", "Windows", "MacOS"] },
  { key: "Tag", label: "Tag", group: "Tags, such as Env=Prod" },
  { key: "AgentVersion", label: "Agent version" },
  { key: "InstanceIds", label: "Node ID" },
  { key: "IamRole", label: "Role" },
  { key: "ActivationIds", label: "Activation ID" },
];

export function NodesPage() {
  const [asked, setAsked] = useState<"add" | "tags" | "deregister">();
  const [of, setOf] = useState<Node[]>([]);
  const connect = useConnect();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const one = of.length === 1 ? of[0] : undefined;
  const close = () => setAsked(undefined);
  return (
    <>
      <ResourceTable
        name="nodes"
        title="Nodes"
        queryKey={["nodes", "list"]}
        read={readNodes}
        columns={COLUMNS}
        id={(node) => node.InstanceId}
        properties={PROPERTIES}
        refresh={5_000}
        selection="multi"
        actions={(selected) => (
          <>
            <Button
              disabled={selected.length !== 1}
              disabledReason="Choose one node"
              loading={connect.pending}
              onClick={() => selected[0] && connect.to(selected[0].InstanceId, nodeName(selected[0]))}
            >
              Connect
            </Button>
            <Button
              disabled={!selected.length}
              disabledReason="Choose nodes"
              onClick={() => navigate(`/commands/run?${selected.map((node) => `node=${node.InstanceId}`).join("&")}`)}
            >
              Run command
            </Button>
            <ButtonDropdown
              disabled={!selected.length}
              items={[
                { id: "tags", text: "Edit tags", disabled: selected.length !== 1 },
                { id: "deregister", text: "Deregister" },
              ]}
              onItemClick={({ detail }) => {
                setOf(selected);
                setAsked(detail.id as "tags" | "deregister");
              }}
            >
              Actions
            </ButtonDropdown>
            <Button variant="primary" onClick={() => setAsked("add")}>
              Add node
            </Button>
          </>
        )}
        empty={
          <Nothing title="No nodes yet">
            <span>A machine becomes a node with one line, pasted into its shell. Nothing needs to connect to it.</span>
            <Button onClick={() => setAsked("add")}>Add node</Button>
          </Nothing>
        }
      />
      {asked === "add" && <AddNode close={close} />}
      {asked === "tags" && one && <EditTags nodeId={one.InstanceId} close={close} />}
      {asked === "deregister" && (
        <Confirm
          header={one ? `Deregister ${nodeName(one)}?` : `Deregister ${of.length} nodes?`}
          act="Deregister"
          close={close}
          perform={async () => {
            for (const node of of) await deregister(node.InstanceId);
            say("success", of.length === 1 ? "The node is deregistered" : `${of.length} nodes are deregistered`);
            await queries.invalidateQueries({ queryKey: ["nodes"] });
          }}
        >
          Keys, tags and waiting commands go with it, and its agent is refused from now on. Its id is never used again;
          the machine itself keeps running.
        </Confirm>
      )}
    </>
  );
}
