import { expect, test } from "vitest";
import { parametersOf, tagTargets, targetsOf } from "./sending";

test("lists have a value on each line, and what is left as it is is not sent", () => {
  const parameters = [
    { Name: "commands", Type: "StringList" as const },
    { Name: "workingDirectory", Type: "String" as const, DefaultValue: "" },
    { Name: "executionTimeout", Type: "String" as const, DefaultValue: "3600" },
  ];
  const typed = { commands: "echo a\n\necho b\n", executionTimeout: "3600", workingDirectory: "/tmp" };
  expect(parametersOf(parameters, typed)).toEqual({ commands: ["echo a", "", "echo b"], workingDirectory: ["/tmp"] });
});

test("tags are targets: entries must all fit, of one any value", () => {
  expect(tagTargets("Env=Prod|Test, Role=web,Note=a=b, Env")).toEqual([
    { Key: "tag:Env", Values: ["Prod", "Test"] },
    { Key: "tag:Role", Values: ["web"] },
    { Key: "tag:Note", Values: ["a=b"] },
    { Key: "tag-key", Values: ["Env"] },
  ]);
  expect(targetsOf({ kind: "tags", ids: [], tags: " , " })).toBeUndefined();
});
