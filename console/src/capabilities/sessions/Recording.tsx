import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";
import { useEffect, useRef } from "react";
import "./recording.css";

/** Pauses longer than this many seconds are played as this. */
const PAUSE = 2;

/** An asciicast, played. What it shows is a terminal's screen: text, whatever a node wrote. */
export function Recording({ cast, from }: { cast: string; from?: number }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const player = create({ data: cast }, element, {
      fit: "width",
      idleTimeLimit: PAUSE,
      preload: true,
      autoPlay: from === undefined,
      startAt: from,
      controls: true,
      theme: "pilothouse",
      terminalFontFamily: getComputedStyle(element).getPropertyValue("--pilothouse-mono"),
    });
    return () => player.dispose();
  }, [cast, from]);
  return <section className="recording" ref={host} aria-label="Recording" />;
}
