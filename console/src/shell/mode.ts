/** Dark or light: as the system has it, until somebody chooses. */
import { applyMode, Mode } from "@cloudscape-design/global-styles";
import { useSyncExternalStore } from "react";

const KEY = "pilothouse.mode";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

export const mode = (): "dark" | "light" =>
  (localStorage.getItem(KEY) as "dark" | "light" | null) ?? (system.matches ? "dark" : "light");

function apply(): void {
  applyMode(mode() === "dark" ? Mode.Dark : Mode.Light);
  document.documentElement.classList.toggle("awsui-dark-mode", mode() === "dark");
  for (const listener of listeners) listener();
}

export function toggleMode(): void {
  localStorage.setItem(KEY, mode() === "dark" ? "light" : "dark");
  apply();
}

export function beginMode(): void {
  system.addEventListener("change", apply);
  apply();
}

export const useMode = () =>
  useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, mode);
