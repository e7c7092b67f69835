import Box from "@cloudscape-design/components/box";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useEffect, useRef, useState } from "react";
import { Lines } from "../../ui/Copyable";
import { Failure } from "../../ui/Failure";
import { plainText } from "../../ui/plainText";
import { output } from "./queries";

/** Characters of one stream that a page shows; whoever wants more has `pilothouse output`. */
const MOST = 200_000;

type Shown = { step: string; stream: string; text: string; cut: boolean };

/** Output of one node, while it is written. */
export function NodeOutput({ commandId, nodeId }: { commandId: string; nodeId: string }) {
  const [shown, setShown] = useState<Shown[]>([]);
  const [state, setState] = useState<"reading" | "ended">("reading");
  const [error, setError] = useState<unknown>();
  const [again, setAgain] = useState(0);
  const found = useRef(new Map<string, Shown>());

  // biome-ignore lint/correctness/useExhaustiveDependencies: `again` begins anew
  useEffect(() => {
    const leaving = new AbortController();
    found.current = new Map();
    setError(undefined);
    setState("reading");
    const read = async () => {
      for await (const piece of output(commandId, nodeId, leaving.signal)) {
        const key = `${piece.StepName} ${piece.Stream}`;
        const before = found.current.get(key) ?? { step: piece.StepName, stream: piece.Stream, text: "", cut: false };
        const text = before.text + (piece.Text ?? "");
        found.current.set(key, { ...before, text: text.slice(0, MOST), cut: text.length > MOST });
        setShown([...found.current.values()]);
      }
      setState("ended");
    };
    read().catch((error) => !leaving.signal.aborted && setError(error));
    return () => leaving.abort();
  }, [commandId, nodeId, again]);

  return (
    <Container
      header={
        <Header variant="h2" description={nodeId}>
          Output
        </Header>
      }
    >
      <SpaceBetween size="m">
        <Failure error={error} retry={() => setAgain(again + 1)} />
        {shown.map(({ step, stream, text, cut }) => (
          <SpaceBetween key={`${step} ${stream}`} size="xxs">
            <Box variant="awsui-key-label">
              {step}, {stream === "StandardError" ? "standard error" : "standard output"}
            </Box>
            <Lines label={`Output of ${step}`} text={plainText(text)} />
            {cut && <Box color="text-status-inactive">Cut here; pilothouse output shows all of it.</Box>}
          </SpaceBetween>
        ))}
        {!error && state === "reading" && <StatusIndicator type="in-progress">Waiting for more</StatusIndicator>}
        {state === "ended" && !shown.some(({ text }) => text) && (
          <Box color="text-status-inactive">It wrote nothing.</Box>
        )}
      </SpaceBetween>
    </Container>
  );
}
