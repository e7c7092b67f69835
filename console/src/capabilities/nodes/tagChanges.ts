import type { Tag } from "@aws-sdk/client-ssm";
import type { TagEditorProps } from "@cloudscape-design/components/tag-editor";

/** What to add (or set anew) and what to remove to come from one list of tags to the other. */
export function tagChanges(before: Tag[], after: readonly TagEditorProps.Tag[]): { add: Tag[]; remove: string[] } {
  const stay = after.filter((tag) => !tag.markedForRemoval && tag.key);
  return {
    add: stay
      .filter(({ key, value }) => before.find((tag) => tag.Key === key)?.Value !== value)
      .map(({ key, value }) => ({ Key: key, Value: value })),
    remove: before.flatMap((tag) => (tag.Key && !stay.some(({ key }) => key === tag.Key) ? [tag.Key] : [])),
  };
}
