import Spinner from "@cloudscape-design/components/spinner";
import { lazy, Suspense, useRef } from "react";

const OpenTerminals = lazy(async () => ({ default: (await import("./OpenTerminals")).OpenTerminals }));

const kept = () => sessionStorage.getItem("pilothouse.terminals") !== null;

/** The open terminals: there from the first one on, and shown on their own page. */
export function Terminals({ shown }: { shown: boolean }) {
  const needed = useRef(shown || kept());
  needed.current ||= shown;
  if (!needed.current) return null;
  return <Suspense fallback={shown ? <Spinner size="large" /> : null}>{<OpenTerminals shown={shown} />}</Suspense>;
}
