import { expect, test } from "vitest";
import { enrolmentLine } from "./enrolment";
import { byKey, nodeFilters } from "./filters";
import { tagChanges } from "./tagChanges";

test("filters of one key are alternatives", () => {
  const filters = [
    { key: "PingStatus", value: "Online" },
    { key: "PlatformTypes", value: "Linux" },
    { key: "PlatformTypes", value: "Windows" },
  ];
  expect(byKey(filters)).toEqual([
    { Key: "PingStatus", Values: ["Online"] },
    { Key: "PlatformTypes", Values: ["Linux", "Windows"] },
  ]);
});

test("tags are filtered by key and value, or by key alone", () => {
  const filters = ["Env=Prod", "Note=a=b", "Env"].map((value) => ({ key: "Tag", value }));
  expect(nodeFilters(filters)).toEqual([
    { key: "tag:Env", value: "Prod" },
    { key: "tag:Note", value: "a=b" },
    { key: "tag-key", value: "Env" },
  ]);
});

test("tags that stay as they are are not written", () => {
  const before = [
    { Key: "Env", Value: "Prod" },
    { Key: "Role", Value: "web" },
    { Key: "Old", Value: "1" },
  ];
  const after = [
    { key: "Env", value: "Prod", existing: true },
    { key: "Role", value: "db", existing: true },
    { key: "Old", value: "1", existing: true, markedForRemoval: true },
    { key: "New", value: "", existing: false },
  ];
  expect(tagChanges(before, after)).toEqual({
    add: [
      { Key: "Role", Value: "db" },
      { Key: "New", Value: "" },
    ],
    remove: ["Old"],
  });
});

test("without an authority of its own the server's certificate is verified as any other", () => {
  const line = enrolmentLine({ url: "https://a.example", id: "i", code: "c" });
  expect(line).toContain("curl -fsS https://a.example/agent/install.sh | sh -s -- \\\n");
  expect(line).not.toContain("--ca-sha256");
  expect(enrolmentLine({ url: "https://a.example", fingerprint: "ff", id: "i", code: "c" })).toContain("curl -fsSk ");
});
