import Button from "@cloudscape-design/components/button";
import Input from "@cloudscape-design/components/input";
import { useState } from "react";
import { useSearchParams } from "react-router";
import { Link } from "../../ui/links";
import { plainText } from "../../ui/plainText";
import { Nothing, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { type Match, search } from "./recordings";
import "./search.css";

/** A line is found by the second at which it began; so many later it can be read. */
const READABLE = 1;

/** Where a text was written, in all the sessions that one may read. */
export function SearchPage() {
  const [asked, setAsked] = useSearchParams();
  const [typed, setTyped] = useState(asked.get("text") ?? "");
  const text = asked.get("text") ?? "";
  return (
    <>
      <form
        className="search"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(typed ? { text: typed } : {});
        }}
      >
        <Input
          type="search"
          value={typed}
          ariaLabel="Text in recordings"
          placeholder="A text that stood on somebody's screen"
          autoFocus
          onChange={({ detail }) => setTyped(detail.value)}
        />
        <Button variant="primary" formAction="submit">
          Search
        </Button>
      </form>
      <ResourceTable<Match>
        key={text}
        variant="container"
        name="recordings"
        title="Recordings"
        queryKey={["sessions", "search", text]}
        read={async ({ token, size }) => (text ? search({ text, token, size }) : { items: [] })}
        sizes={[50]}
        id={(each) => `${each.SessionId} ${each.Seconds} ${each.Line}`}
        columns={[
          {
            id: "session",
            header: "Session",
            width: 260,
            cell: (each) => (
              <Link to={`/sessions/${each.SessionId}?at=${each.Seconds + READABLE}`}>
                <span className="mono">{each.SessionId}</span>
              </Link>
            ),
          },
          {
            id: "line",
            header: "Line",
            width: 420,
            cell: (each) => <span className="mono">{plainText(each.Line)}</span>,
          },
          { id: "owner", header: "Owner", width: 140, cell: (each) => each.Owner.split(/[:/]/).at(-1) },
          {
            id: "node",
            header: "Node",
            width: 220,
            cell: (each) => <Link to={`/nodes/${each.Target}`}>{each.Target}</Link>,
          },
          { id: "at", header: "Started", width: 140, cell: (each) => <Time at={new Date(each.StartDate * 1000)} /> },
        ]}
        empty={<Nothing title={text ? `Nobody saw “${text}”` : "Search what was written in sessions"} />}
      />
    </>
  );
}
