import Spinner from "@cloudscape-design/components/spinner";
import TagEditor, { type TagEditorProps } from "@cloudscape-design/components/tag-editor";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Confirm } from "../../ui/Confirm";
import { Failure } from "../../ui/Failure";
import { editedTagsQuery, writeTags } from "./queries";
import { tagChanges } from "./tagChanges";

export function EditTags({ nodeId, close }: { nodeId: string; close: () => void }) {
  const { data: before, error } = useQuery(editedTagsQuery(nodeId));
  const [edited, setEdited] = useState<readonly TagEditorProps.Tag[]>();
  const [valid, setValid] = useState(true);
  const queries = useQueryClient();
  const tags =
    edited ?? before?.map(({ Key, Value }) => ({ key: Key ?? "", value: Value ?? "", existing: true })) ?? [];
  return (
    <Confirm
      header="Edit tags"
      act="Save"
      size="large"
      ready={Boolean(edited) && valid}
      close={close}
      perform={async () => {
        const { add, remove } = tagChanges(before ?? [], tags);
        await writeTags(nodeId, add, remove);
        await queries.invalidateQueries({ queryKey: ["nodes", "tags", nodeId] });
      }}
    >
      <Failure error={error} />
      {before ? (
        <TagEditor
          tags={tags}
          tagLimit={50}
          onChange={({ detail }) => {
            setEdited(detail.tags);
            setValid(detail.valid);
          }}
        />
      ) : (
        !error && <Spinner />
      )}
    </Confirm>
  );
}
