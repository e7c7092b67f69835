import type { Command, CommandInvocation } from "@aws-sdk/client-ssm";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { Confirm } from "../../ui/Confirm";
import { Copyable, Lines } from "../../ui/Copyable";
import { Failure } from "../../ui/Failure";
import { Link } from "../../ui/links";
import { Nothing, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { CommandStatus } from "./CommandStatus";
import { NodeOutput } from "./NodeOutput";
import { cancel, commandQuery, OPEN, readInvocations } from "./queries";

export function CommandPage() {
  const { commandId = "" } = useParams();
  const { data: command, error, isPending, refetch } = useQuery(commandQuery(commandId));
  if (error && !command) return <Failure error={error} retry={() => refetch()} />;
  if (isPending) return <Spinner size="large" />;
  if (!command)
    return (
      <Nothing title="There is no such command, or no longer">
        <Link to="/commands">To the commands</Link>
      </Nothing>
    );
  return <Found command={command} />;
}

/** `tag:Env = Prod, Test`, or the ids. */
export function targetWords(command: Command): string {
  if (command.InstanceIds?.length) return command.InstanceIds.join(", ");
  return (command.Targets ?? [])
    .map(({ Key, Values = [] }) => (Values.includes("*") ? "all nodes" : `${Key} = ${Values.join(", ")}`))
    .join("; ");
}

function Found({ command }: { command: Command }) {
  const [cancelling, setCancelling] = useState(false);
  const [search, setSearch] = useSearchParams();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const commandId = command.CommandId ?? "";
  const nodeId = search.get("node") ?? "";
  const open = OPEN.has(command.Status ?? "");
  const [targets, ended] = [command.TargetCount ?? 0, command.CompletedCount ?? 0];
  const show = (id: string) =>
    setSearch(
      (before) => {
        before.set("node", id);
        return before;
      },
      { replace: true },
    );
  useEffect(() => {
    if (!open) queries.invalidateQueries({ queryKey: ["commands", "invocations", commandId] });
  }, [open, queries, commandId]);
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={command.Comment}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button onClick={() => navigate(`/commands/run?like=${commandId}`)}>Run again</Button>
              {open && <Button onClick={() => setCancelling(true)}>Cancel</Button>}
            </SpaceBetween>
          }
        >
          {command.DocumentName}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Container>
          <SpaceBetween size="l">
            <KeyValuePairs
              columns={4}
              minColumnWidth={180}
              items={[
                { label: "Status", value: <CommandStatus status={command.StatusDetails} /> },
                { label: "Sent", value: <Time at={command.RequestedDateTime} exact /> },
                { label: "Targets", value: targetWords(command) || "–" },
                { label: "Errors", value: String(command.ErrorCount ?? 0) },
                { label: "Command ID", value: <Copyable text={commandId} /> },
                { label: "Document version", value: command.DocumentVersion || "–" },
                {
                  label: "At once, errors tolerated",
                  value: `${command.MaxConcurrency ?? "–"}, ${command.MaxErrors ?? "–"}`,
                },
                { label: "Given up after", value: <Time at={command.ExpiresAfter} exact /> },
              ]}
            />
            {open && targets > 1 && (
              <ProgressBar
                value={(100 * ended) / targets}
                label="Nodes that ended"
                additionalInfo={`${ended} of ${targets}`}
              />
            )}
            <ExpandableSection headerText="Parameters">
              <Parameters parameters={command.Parameters ?? {}} />
            </ExpandableSection>
          </SpaceBetween>
        </Container>
        <ResourceTable<CommandInvocation>
          variant="container"
          name="invocations"
          title="Nodes"
          queryKey={["commands", "invocations", commandId]}
          read={(asked) => readInvocations({ CommandId: commandId }, asked)}
          refresh={open ? 1_000 : 0}
          sizes={[20]}
          id={(each) => each.InstanceId ?? ""}
          properties={[
            {
              key: "Status",
              label: "Status",
              group: "Statuses",
              values: ["Pending", "InProgress", "Success", "Failed", "TimedOut", "Cancelled"],
            },
          ]}
          columns={[
            {
              id: "node",
              header: "Node",
              width: 260,
              cell: (each) => <Link to={`/nodes/${each.InstanceId}`}>{each.InstanceName || each.InstanceId}</Link>,
            },
            {
              id: "status",
              header: "Status",
              width: 190,
              cell: (each) => <CommandStatus status={each.StatusDetails} />,
            },
            {
              id: "output",
              header: "Output",
              width: 160,
              cell: (each) => (
                <Button
                  variant="inline-link"
                  ariaLabel={`Output of ${each.InstanceName || each.InstanceId}`}
                  onClick={() => show(each.InstanceId ?? "")}
                >
                  {each.InstanceId === nodeId ? "Shown below" : "Show output"}
                </Button>
              ),
            },
            { id: "id", header: "Node ID", width: 240, cell: (each) => <Copyable text={each.InstanceId} /> },
          ]}
          empty={<Nothing title="No node fitted the targets" />}
        />
        <ShownOutput
          commandId={commandId}
          nodeId={nodeId}
          only={targets === 1 ? command.InstanceIds?.[0] : undefined}
        />
      </SpaceBetween>
      {cancelling && (
        <Confirm
          header="Cancel this command?"
          act="Cancel the command"
          close={() => setCancelling(false)}
          perform={async () => {
            await cancel(commandId);
            await queries.invalidateQueries({ queryKey: ["commands"] });
          }}
        >
          Nodes that have not begun do not get it any more; the others are told to stop it.
        </Confirm>
      )}
    </ContentLayout>
  );
}

function ShownOutput({ commandId, nodeId, only }: { commandId: string; nodeId: string; only?: string }) {
  const shown = nodeId || only;
  return shown ? <NodeOutput key={shown} commandId={commandId} nodeId={shown} /> : null;
}

function Parameters({ parameters }: { parameters: Record<string, string[]> }) {
  const names = Object.keys(parameters);
  if (!names.length) return <>None</>;
  return (
    <KeyValuePairs
      columns={1}
      items={names.map((name) => ({
        label: name,
        value: <Lines label={name} text={(parameters[name] ?? []).join("\n")} />,
      }))}
    />
  );
}
