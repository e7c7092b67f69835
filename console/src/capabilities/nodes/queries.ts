import {
  AddTagsToResourceCommand,
  CreateActivationCommand,
  DeleteActivationCommand,
  DeregisterManagedInstanceCommand,
  DescribeActivationsCommand,
  DescribeInstanceInformationCommand,
  type InstanceInformation,
  type InstanceInformationFilterKey,
  ListTagsForResourceCommand,
  RemoveTagsFromResourceCommand,
  type Tag,
} from "@aws-sdk/client-ssm";
import { queryOptions } from "@tanstack/react-query";
import { pilothouse, ssm } from "../../aws/clients";
import { together } from "../../aws/together";
import type { Filter, Page } from "../../ui/ResourceTable";
import { byKey, nodeFilters } from "./filters";

export type Node = InstanceInformation & { InstanceId: string };

export async function readNodes(asked: { filters: Filter[]; token?: string; size: number }): Promise<Page<Node>> {
  const answer = await ssm().send(
    new DescribeInstanceInformationCommand({
      Filters: byKey(nodeFilters(asked.filters)) as { Key: InstanceInformationFilterKey; Values: string[] }[],
      MaxResults: asked.size,
      NextToken: asked.token,
    }),
  );
  return { items: (answer.InstanceInformationList ?? []) as Node[], next: answer.NextToken };
}

export const nodeQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", "one", nodeId],
    queryFn: async (): Promise<Node | null> =>
      (await readNodes({ filters: [{ key: "InstanceIds", value: nodeId }], size: 5 })).items[0] ?? null,
    refetchInterval: 5_000,
  });

type Standing = { NodeId: string; Connected?: boolean; Tags?: Tag[] };

/** What the rows of a list ask about their nodes, in one call for all of them. */
const standing = together<Standing>(async (ids) => {
  const answer = await pilothouse<{ Nodes: Standing[] }>("ListNodeStandings", { NodeIds: ids });
  return new Map(answer.Nodes.map((node) => [node.NodeId, node]));
}, 100);

/** Whether the node's control channel is open; null where one may not ask. */
export const channelQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", "channel", nodeId],
    queryFn: async () => (await standing(nodeId))?.Connected ?? null,
    refetchInterval: 5_000,
  });

/** Its tags, to be shown. */
export const tagsQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", "tags", nodeId],
    queryFn: async (): Promise<Tag[]> => (await standing(nodeId))?.Tags ?? [],
    staleTime: 60_000,
  });

/** Its tags, to be changed. */
export const editedTagsQuery = (nodeId: string) =>
  queryOptions({
    queryKey: ["nodes", "tags", nodeId, "edited"],
    queryFn: async (): Promise<Tag[]> =>
      (await ssm().send(new ListTagsForResourceCommand({ ResourceType: "ManagedInstance", ResourceId: nodeId })))
        .TagList ?? [],
    staleTime: 60_000,
  });

export async function writeTags(nodeId: string, add: Tag[], remove: string[]): Promise<void> {
  const resource = { ResourceType: "ManagedInstance" as const, ResourceId: nodeId };
  if (remove.length) await ssm().send(new RemoveTagsFromResourceCommand({ ...resource, TagKeys: remove }));
  if (add.length) await ssm().send(new AddTagsToResourceCommand({ ...resource, Tags: add }));
}

export const deregister = (nodeId: string) => ssm().send(new DeregisterManagedInstanceCommand({ InstanceId: nodeId }));

/** What people call a node: its tag Name if that is known, else what it or its activation said. */
export const nodeName = (node: Node): string => node.Name || node.ComputerName || node.InstanceId;

export async function readActivations(asked: { filters: Filter[]; token?: string; size: number }) {
  const answer = await ssm().send(
    new DescribeActivationsCommand({
      Filters: asked.filters.map(({ key, value }) => ({ FilterKey: key as "IamRole", FilterValues: [value] })),
      MaxResults: asked.size,
      NextToken: asked.token,
    }),
  );
  return { items: answer.ActivationList ?? [], next: answer.NextToken };
}

export type NewActivation = { name: string; role: string; limit: number; days: number; tags: Tag[] };

export async function createActivation({ name, role, limit, days, tags }: NewActivation) {
  const made = await ssm().send(
    new CreateActivationCommand({
      IamRole: role,
      RegistrationLimit: limit,
      ExpirationDate: new Date(Date.now() + days * 86_400_000 - 60_000),
      ...(name && { DefaultInstanceName: name }),
      ...(tags.length && { Tags: tags }),
    }),
  );
  return { id: made.ActivationId ?? "", code: made.ActivationCode ?? "" };
}

export const deleteActivation = (id: string) => ssm().send(new DeleteActivationCommand({ ActivationId: id }));
