import type { Session } from "@aws-sdk/client-ssm";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { Confirm } from "../../ui/Confirm";
import { Copyable } from "../../ui/Copyable";
import { Failure } from "../../ui/Failure";
import { Link } from "../../ui/links";
import { Nothing } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { TERMINALS } from "./places";
import { sessionQuery, terminate } from "./queries";
import { recordingQuery } from "./recordings";
import { SessionStatus } from "./sessionColumns";

const Recording = lazy(async () => ({ default: (await import("./Recording")).Recording }));
const Watch = lazy(async () => ({ default: (await import("./Watch")).Watch }));

export function SessionPage() {
  const { sessionId = "" } = useParams();
  const { data: session, error, isPending, refetch } = useQuery(sessionQuery(sessionId));
  if (error && !session) return <Failure error={error} retry={() => refetch()} />;
  if (isPending) return <Spinner size="large" />;
  if (!session)
    return (
      <Nothing title="There is no such session, or no longer">
        <Link to="/sessions">To the sessions</Link>
      </Nothing>
    );
  return <Found session={session} />;
}

function Found({ session }: { session: Session }) {
  const [ending, setEnding] = useState(false);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const sessionId = session.SessionId ?? "";
  const open = !session.EndDate && !["Terminated", "Failed"].includes(session.Status ?? "");
  const join = async () => {
    navigate(TERMINALS);
    const { joinSession } = await import("./terminals");
    joinSession(sessionId, session.Target ?? "", sessionId);
  };
  const read = () => queries.invalidateQueries({ queryKey: ["sessions"] });
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          actions={
            open && (
              <SpaceBetween direction="horizontal" size="xs">
                <Button onClick={() => setEnding(true)}>Terminate</Button>
                <Button onClick={join}>Join</Button>
              </SpaceBetween>
            )
          }
        >
          {sessionId}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Container header={<Header variant="h2">Session</Header>}>
          <KeyValuePairs
            columns={4}
            minColumnWidth={180}
            items={[
              { label: "Status", value: <SessionStatus session={session} /> },
              { label: "Node", value: <Link to={`/nodes/${session.Target}`}>{session.Target}</Link> },
              { label: "Owner", value: <Copyable text={session.Owner} /> },
              { label: "Reason", value: session.Reason || "–" },
              { label: "Started", value: <Time at={session.StartDate} exact /> },
              { label: "Ended", value: <Time at={session.EndDate} exact /> },
              { label: "Document", value: session.DocumentName || "–" },
              { label: "Details", value: session.Details || "–" },
            ]}
          />
        </Container>
        <Container header={<Header variant="h2">{open ? "Live" : "Recording"}</Header>}>
          <Suspense fallback={<Spinner size="large" />}>
            {open ? <Watch sessionId={sessionId} ended={read} /> : <Played sessionId={sessionId} />}
          </Suspense>
        </Container>
      </SpaceBetween>
      {ending && (
        <Confirm
          header={`Terminate ${sessionId}?`}
          act="Terminate"
          close={() => setEnding(false)}
          perform={async () => {
            await terminate(sessionId);
            await read();
          }}
        >
          What runs in it is ended as well.
        </Confirm>
      )}
    </ContentLayout>
  );
}

function Played({ sessionId }: { sessionId: string }) {
  const [search] = useSearchParams();
  const at = Number(search.get("at"));
  const { data: cast, error, refetch } = useQuery(recordingQuery(sessionId));
  if (error) return <Failure error={error} retry={() => refetch()} />;
  if (!cast) return <Spinner size="large" />;
  if (!cast.recorded) return <Box color="text-status-inactive">Nothing was recorded of this session.</Box>;
  return (
    <>
      <Recording cast={cast.text} from={at > 0 ? Math.max(0, at - 1) : undefined} />
      {cast.cut && <Box color="text-status-inactive">Only the first 32 MiB are played.</Box>}
    </>
  );
}
