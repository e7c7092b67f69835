/** The line that makes a machine a node. */

/** SHA-256 of the authority's certificate, as the install script compares it; nothing where it cannot be had. */
export async function authorityFingerprint(): Promise<string | undefined> {
  const answer = await fetch("/ca.pem", { cache: "no-store" });
  if (!answer.ok || !crypto.subtle) return undefined;
  const digest = await crypto.subtle.digest("SHA-256", await answer.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export type Enrolment = { url: string; fingerprint?: string; id: string; code: string };

/** One line, in pieces that can be read. */
export function enrolmentLine({ url, fingerprint, id, code }: Enrolment): string {
  return [
    `curl -fsS${fingerprint ? "k" : ""} ${url}/agent/install.sh | sh -s --`,
    `--url ${url}`,
    ...(fingerprint ? [`--ca-sha256 ${fingerprint}`] : []),
    `--activation-id ${id}`,
    `--activation-code ${code}`,
  ].join(" \\\n  ");
}
