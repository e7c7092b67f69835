import { useSyncExternalStore } from "react";

const STEPS: [limit: number, seconds: number, unit: Intl.RelativeTimeFormatUnit][] = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86_400, 3600, "hour"],
  [30 * 86_400, 86_400, "day"],
  [365 * 86_400, 30 * 86_400, "month"],
  [Number.POSITIVE_INFINITY, 365 * 86_400, "year"],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `5 minutes ago`. */
export function ago(at: Date, now: number): string {
  const seconds = Math.round((at.getTime() - now) / 1000);
  if (Math.abs(seconds) < 10) return "just now";
  const [, size, unit] = STEPS.find(([limit]) => Math.abs(seconds) < limit) ?? (STEPS.at(-1) as (typeof STEPS)[number]);
  return words.format(Math.round(seconds / size), unit);
}

/** `1 h 5 min`, of milliseconds. */
export function lasted(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

const whole = (at: Date) => `${at.toLocaleDateString("en-CA")} ${at.toLocaleTimeString("en-GB")}`;

let now = Date.now();
const listeners = new Set<() => void>();
let ticking: ReturnType<typeof setInterval> | undefined;

/** The present moment, which moves on every ten seconds for all who show it. */
export const useNow = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      ticking ??= setInterval(() => {
        now = Date.now();
        for (const each of listeners) each();
      }, 10_000);
      return () => {
        listeners.delete(listener);
        if (listeners.size) return;
        clearInterval(ticking);
        ticking = undefined;
      };
    },
    () => now,
  );

/** A moment as people say it, with the exact time to hover over. */
export function Time({ at, exact }: { at?: Date; exact?: boolean }) {
  const present = useNow();
  if (!at) return <>–</>;
  return (
    <time dateTime={at.toISOString()} title={`${whole(at)} (${at.toISOString()})`}>
      {exact ? whole(at) : ago(at, Math.max(present, at.getTime()))}
    </time>
  );
}
