/** What the server tells anybody about itself: /console/config.json. */
export type Config = {
  /** The server takes made-up keys (`serve --dev`), this one for instance. */
  dev?: { accountId: string };
  /** Port of the listener that agents use. */
  agentsPort?: number;
  /** The region that `pilothouse env` prints. */
  region: string;
  version: string;
};

let known: Config = { region: "us-east-1", version: "" };

export const config = (): Config => known;

export async function readConfig(): Promise<void> {
  const answer = await fetch("/console/config.json", { cache: "no-store" });
  if (answer.ok) known = await answer.json();
}
