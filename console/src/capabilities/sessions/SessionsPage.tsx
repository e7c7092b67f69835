import type { Session } from "@aws-sdk/client-ssm";
import Button from "@cloudscape-design/components/button";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { Confirm } from "../../ui/Confirm";
import { say } from "../../ui/notices";
import { Nothing, ResourceTable } from "../../ui/ResourceTable";
import { readSessions, terminate } from "./queries";
import { SESSION_COLUMNS, SESSION_PROPERTIES } from "./sessionColumns";

export function SessionsPage() {
  const [search, setSearch] = useSearchParams();
  const state = search.get("state") === "History" ? "History" : "Active";
  const [ending, setEnding] = useState<Session[]>([]);
  const navigate = useNavigate();
  const queries = useQueryClient();
  return (
    <>
      <ResourceTable<Session>
        key={state}
        name={`sessions-${state}`}
        title="Sessions"
        queryKey={["sessions", state]}
        read={(asked) => readSessions(state, asked)}
        columns={SESSION_COLUMNS}
        id={(each) => each.SessionId ?? ""}
        properties={SESSION_PROPERTIES}
        refresh={state === "Active" ? 3_000 : 15_000}
        selection="multi"
        actions={(selected) => (
          <>
            <SegmentedControl
              label="Which sessions"
              selectedId={state}
              onChange={({ detail }) => setSearch({ state: detail.selectedId })}
              options={[
                { id: "Active", text: "Active" },
                { id: "History", text: "History" },
              ]}
            />
            {state === "Active" && (
              <Button disabled={!selected.length} disabledReason="Choose sessions" onClick={() => setEnding(selected)}>
                Terminate
              </Button>
            )}
            <Button variant="primary" onClick={() => navigate("/nodes?f=PingStatus%3DOnline")}>
              Start a session
            </Button>
          </>
        )}
        empty={
          state === "Active" ? (
            <Nothing title="No session is open">
              <span>Choose a node and connect: the terminal opens in this page.</span>
              <Button onClick={() => navigate("/nodes?f=PingStatus%3DOnline")}>To the nodes</Button>
            </Nothing>
          ) : (
            <Nothing title="No session has ended yet" />
          )
        }
      />
      {ending.length > 0 && (
        <Confirm
          header={ending.length === 1 ? `Terminate ${ending[0]?.SessionId}?` : `Terminate ${ending.length} sessions?`}
          act="Terminate"
          close={() => setEnding([])}
          perform={async () => {
            for (const each of ending) await terminate(each.SessionId ?? "");
            say(
              "success",
              ending.length === 1 ? "The session is terminated" : `${ending.length} sessions are terminated`,
            );
            await queries.invalidateQueries({ queryKey: ["sessions"] });
          }}
        >
          What runs in {ending.length === 1 ? "it" : "them"} is ended as well.
        </Confirm>
      )}
    </>
  );
}
