/** From what somebody typed and chose to what SendCommand takes. */
import type { DocumentParameter, Target } from "@aws-sdk/client-ssm";

export type Chosen = { kind: "nodes" | "tags" | "all"; ids: string[]; tags: string };
export type Targets = { InstanceIds?: string[]; Targets?: Target[] };

/** `Env=Prod|Test, Web` as the server's targets: every entry must fit, of one entry any value. */
export function tagTargets(text: string): Target[] {
  return text
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean)
    .map((each) => {
      const [key = "", ...rest] = each.split("=");
      if (!rest.length) return { Key: "tag-key", Values: [key] };
      return {
        Key: `tag:${key.trim()}`,
        Values: rest
          .join("=")
          .split("|")
          .map((value) => value.trim()),
      };
    });
}

/** Nothing while it is not known where. */
export function targetsOf({ kind, ids, tags }: Chosen): Targets | undefined {
  if (kind === "all") return { Targets: [{ Key: "InstanceIds", Values: ["*"] }] };
  if (kind === "tags") return tagTargets(tags).length ? { Targets: tagTargets(tags) } : undefined;
  return ids.length ? { InstanceIds: ids } : undefined;
}

/** What was typed, as SendCommand takes it: a list has one value on each line. */
export function parametersOf(parameters: DocumentParameter[], typed: Record<string, string>): Record<string, string[]> {
  return Object.fromEntries(
    parameters.flatMap(({ Name = "", Type, DefaultValue = "" }) => {
      const text = typed[Name];
      if (text === undefined || text === "" || text === DefaultValue) return [];
      return [[Name, Type === "StringList" ? text.replace(/\n+$/, "").split("\n") : [text]]];
    }),
  );
}
