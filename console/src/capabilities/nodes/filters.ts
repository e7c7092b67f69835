import type { Filter } from "../../ui/ResourceTable";

/** Filters of one key are alternatives, as the server has them. */
export function byKey(filters: Filter[]): { Key: string; Values: string[] }[] {
  const found = new Map<string, string[]>();
  for (const { key, value } of filters) found.set(key, [...(found.get(key) ?? []), value]);
  return [...found].map(([Key, Values]) => ({ Key, Values }));
}

/** `Tag` with the value `Env=Prod` is the server's `tag:Env`; without `=` any value will do. */
export function nodeFilters(filters: Filter[]): Filter[] {
  return filters.map(({ key, value }) => {
    if (key !== "Tag") return { key, value };
    const [name, ...rest] = value.split("=");
    return rest.length ? { key: `tag:${name}`, value: rest.join("=") } : { key: "tag-key", value };
  });
}
