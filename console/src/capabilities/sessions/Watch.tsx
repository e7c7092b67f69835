import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef, useState } from "react";
import { Failure } from "../../ui/Failure";
import { appearance } from "./appearance";
import { type Link, open } from "./link";
import { view } from "./queries";
import "./recording.css";

/** Milliseconds until a connection that was lost is made again. */
const WAIT = 2_000;

/** A session as it goes on; nothing that is typed here goes anywhere. */
export function Watch({ sessionId, ended }: { sessionId: string; ended: () => void }) {
  const host = useRef<HTMLElement>(null);
  const over = useRef(ended);
  over.current = ended;
  const [error, setError] = useState<unknown>();
  const [state, setState] = useState<"connecting" | "live" | "waiting">("connecting");
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const term = new Terminal({ ...appearance(), disableStdin: true, cursorBlink: false });
    term.open(element);
    let link: Link | undefined;
    let left = false;
    let again: ReturnType<typeof setTimeout>;
    const look = async () => {
      const ticket = await view(sessionId, "watch");
      if (left) return;
      link = open(ticket, term.cols, term.rows, {
        opened: () => {
          term.write("\x1bc"); // what was shown before comes again
          setState("live");
        },
        bytes: (bytes) => term.write(bytes),
        state: (connected) => setState(connected ? "live" : "waiting"),
        size: (cols, rows) => term.resize(cols, rows),
        ended: () => over.current(),
        lost: () => {
          setState("connecting");
          again = setTimeout(begin, WAIT);
        },
      });
    };
    const begin = () => look().catch((error) => !left && setError(error));
    begin();
    return () => {
      left = true;
      clearTimeout(again);
      link?.close();
      term.dispose();
    };
  }, [sessionId]);
  return (
    <>
      <Failure error={error} />
      {!error && (
        <StatusIndicator type={state === "live" ? "success" : "in-progress"}>
          {state === "live"
            ? "You see what its owner sees"
            : state === "waiting"
              ? "Waiting for the node"
              : "Connecting"}
        </StatusIndicator>
      )}
      <section className="recording watched" ref={host} aria-label="Screen of the session" hidden={Boolean(error)} />
    </>
  );
}
