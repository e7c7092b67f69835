import {
  CancelCommandCommand,
  type Command,
  type CommandFilterKey,
  type CommandInvocation,
  DescribeDocumentCommand,
  type DocumentIdentifier,
  ListCommandInvocationsCommand,
  ListCommandsCommand,
  ListDocumentsCommand,
  SendCommandCommand,
  type SendCommandCommandInput,
  type Target,
} from "@aws-sdk/client-ssm";
import { queryOptions } from "@tanstack/react-query";
import { pilothouse, pilothouseGet, ssm } from "../../aws/clients";
import { serverSent } from "../../aws/serverSent";
import type { Filter, Page } from "../../ui/ResourceTable";

export const OPEN = new Set(["Pending", "InProgress", "Delayed", "Cancelling"]);

type Asked = { filters: Filter[]; token?: string; size: number };

const filtersOf = (filters: Filter[]) => filters.map(({ key, value }) => ({ key: key as CommandFilterKey, value }));

export async function readCommands({ filters, token, size }: Asked): Promise<Page<Command>> {
  const answer = await ssm().send(
    new ListCommandsCommand({
      Filters: filters.length ? filtersOf(filters) : undefined,
      MaxResults: size,
      NextToken: token,
    }),
  );
  return { items: answer.Commands ?? [], next: answer.NextToken };
}

export async function readInvocations(
  of: { CommandId?: string; InstanceId?: string },
  { filters, token, size }: Asked,
): Promise<Page<CommandInvocation>> {
  const answer = await ssm().send(
    new ListCommandInvocationsCommand({
      ...of,
      Filters: filters.length ? filtersOf(filters) : undefined,
      MaxResults: size,
      NextToken: token,
    }),
  );
  return { items: answer.CommandInvocations ?? [], next: answer.NextToken };
}

export const commandQuery = (commandId: string) =>
  queryOptions({
    queryKey: ["commands", "one", commandId],
    queryFn: async (): Promise<Command | null> =>
      (await ssm().send(new ListCommandsCommand({ CommandId: commandId }))).Commands?.[0] ?? null,
    refetchInterval: ({ state }) => (!state.data || OPEN.has(state.data.Status ?? "") ? 1_000 : false),
  });

export const documentsQuery = (prefix: string) =>
  queryOptions({
    queryKey: ["documents", "of commands", prefix],
    queryFn: async (): Promise<DocumentIdentifier[]> =>
      (
        await ssm().send(
          new ListDocumentsCommand({
            Filters: [
              { Key: "DocumentType", Values: ["Command"] },
              ...(prefix ? [{ Key: "Name", Values: [prefix] }] : []),
            ],
            MaxResults: 50,
          }),
        )
      ).DocumentIdentifiers ?? [],
    staleTime: 60_000,
  });

export const documentQuery = (name: string) =>
  queryOptions({
    queryKey: ["documents", "one", name],
    queryFn: async () => (await ssm().send(new DescribeDocumentCommand({ Name: name }))).Document,
    staleTime: 60_000,
    enabled: Boolean(name),
  });

export async function send(input: SendCommandCommandInput): Promise<string> {
  return (await ssm().send(new SendCommandCommand(input))).Command?.CommandId ?? "";
}

export const cancel = (commandId: string) => ssm().send(new CancelCommandCommand({ CommandId: commandId }));

export type Planned = { InstanceId: string; InstanceName?: string; Outcome: string; Reason?: string };
export type Plan = { TargetCount: number; AtOnce: number; Nodes: Planned[]; NextToken?: string };

export type Wanted = {
  DocumentName: string;
  Parameters: Record<string, string[]>;
  InstanceIds?: string[];
  Targets?: Target[];
};

export const plan = (wanted: Wanted, signal: AbortSignal) =>
  pilothouse<Plan>("PlanCommand", { ...wanted, MaxResults: 50 }, signal);

export type Piece = { InstanceId: string; StepName: string; Run: number; Stream: string; Text?: string; Data?: string };

/** Output of one node as it is written, from the beginning; ends with the command. */
export async function* output(commandId: string, nodeId: string, signal: AbortSignal): AsyncGenerator<Piece> {
  const answer = await pilothouseGet(
    "/ph/v1/commands/output",
    { "command-id": commandId, "instance-id": nodeId },
    signal,
  );
  for await (const { event, data } of serverSent(answer)) {
    if (event === "output") yield JSON.parse(data);
    if (event === "end") return;
  }
}
