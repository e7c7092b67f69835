/**
 * The list that every capability has: read page by page from the server, filtered by the server, kept fresh.
 *
 * Filters stand in the address, so that a list can be sent to somebody; the page size and the columns are this
 * browser's own.
 */
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import CollectionPreferences, {
  type CollectionPreferencesProps,
} from "@cloudscape-design/components/collection-preferences";
import Header from "@cloudscape-design/components/header";
import Pagination from "@cloudscape-design/components/pagination";
import PropertyFilter, { type PropertyFilterProps } from "@cloudscape-design/components/property-filter";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { keepPreviousData, type QueryKey, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useSearchParams } from "react-router";
import { Failure } from "./Failure";
import "./resource-table.css";

export type Filter = { key: string; value: string };
export type Page<Item> = { items: Item[]; next?: string };

export type Property = {
  key: string;
  label: string;
  /** The plural, for the list of suggestions. */
  group?: string;
  /** What the server knows; any text where there are none. */
  values?: readonly string[];
};

export type Column<Item> = {
  id: string;
  header: string;
  cell: (item: Item) => ReactNode;
  width?: number;
  /** Not shown until somebody chooses it. */
  hidden?: boolean;
};

type Props<Item> = {
  /** Of the query cache and of this browser's preferences. */
  name: string;
  title: string;
  description?: string;
  queryKey: QueryKey;
  read: (asked: { filters: Filter[]; token?: string; size: number }) => Promise<Page<Item>>;
  columns: Column<Item>[];
  id: (item: Item) => string;
  properties?: Property[];
  /** What to do where there is nothing yet. */
  empty: ReactNode;
  sizes?: number[];
  /** Milliseconds until the list is read again; 0: never. */
  refresh?: number;
  selection?: "single" | "multi";
  actions?: (selected: Item[], clear: () => void) => ReactNode;
  variant?: "full-page" | "container";
};

const OPERATOR = "=";

/** `?f=Key%3DValue&f=…`, and back. */
function useFilters(): [Filter[], (filters: Filter[]) => void] {
  const [search, setSearch] = useSearchParams();
  const filters = search.getAll("f").map((text) => {
    const at = text.indexOf("=");
    return { key: text.slice(0, at), value: text.slice(at + 1) };
  });
  return [
    filters,
    (next) =>
      setSearch((before) => {
        before.delete("f");
        for (const { key, value } of next) before.append("f", `${key}=${value}`);
        return before;
      }),
  ];
}

function usePreferences(name: string, sizes: number[], columns: { id: string; hidden?: boolean }[]) {
  const key = `pilothouse.table.${name}`;
  const [preferences, setPreferences] = useState<CollectionPreferencesProps.Preferences>(() => ({
    pageSize: sizes[0],
    wrapLines: false,
    contentDisplay: columns.map(({ id, hidden }) => ({ id, visible: !hidden })),
    ...JSON.parse(localStorage.getItem(key) ?? "{}"),
  }));
  return [
    preferences,
    (next: CollectionPreferencesProps.Preferences) => {
      localStorage.setItem(key, JSON.stringify(next));
      setPreferences(next);
    },
  ] as const;
}

export function ResourceTable<Item>(props: Props<Item>) {
  const { name, title, columns, properties = [], refresh = 0, sizes = [20, 50] } = props;
  const [filters, setFilters] = useFilters();
  const [preferences, setPreferences] = usePreferences(name, sizes, columns);
  const [tokens, setTokens] = useState<(string | undefined)[]>([undefined]);
  const [at, setAt] = useState(0);
  const [selected, setSelected] = useState<string[]>([]);
  const size = preferences.pageSize ?? (sizes[0] as number);

  const query = useQuery({
    queryKey: [...props.queryKey, filters, size, tokens[at] ?? ""],
    queryFn: () => props.read({ filters, token: tokens[at], size }),
    placeholderData: keepPreviousData,
    refetchInterval: refresh || false,
  });
  const items = query.data?.items ?? [];
  const next = query.data?.next;
  const known = next && !query.isPlaceholderData ? at + 2 : at + 1;
  const chosen = items.filter((item) => selected.includes(props.id(item)));
  const first = () => {
    setTokens([undefined]);
    setAt(0);
  };
  const turn = (page: number) => {
    if (page > at && next) setTokens([...tokens.slice(0, at + 1), next]);
    setAt(page);
  };
  const clear = () => setSelected([]);

  return (
    <Table
      variant={props.variant ?? "full-page"}
      stickyHeader={props.variant !== "container"}
      header={
        <Header
          variant={props.variant === "container" ? "h2" : "awsui-h1-sticky"}
          description={props.description}
          actions={
            <div className="actions">
              <Button
                iconName="refresh"
                ariaLabel={`Refresh ${title.toLowerCase()}`}
                loading={query.isFetching && !refresh}
                onClick={() => query.refetch()}
              />
              {props.actions?.(chosen, clear)}
            </div>
          }
        >
          {title}
        </Header>
      }
      filter={
        properties.length > 0 && (
          <ServerFilter
            title={title}
            properties={properties}
            filters={filters}
            change={(filters) => {
              first();
              setFilters(filters);
            }}
          />
        )
      }
      pagination={
        (known > 1 || at > 0) && (
          <Pagination
            currentPageIndex={at + 1}
            pagesCount={Math.max(known, tokens.length)}
            openEnd={Boolean(next)}
            onChange={({ detail }) => turn(detail.currentPageIndex - 1)}
          />
        )
      }
      preferences={
        props.variant !== "container" && (
          <Preferences
            preferences={preferences}
            columns={columns}
            sizes={sizes}
            change={(next) => {
              first();
              setPreferences(next);
            }}
          />
        )
      }
      items={query.error && !query.data ? [] : items}
      loading={query.isPending}
      loadingText={`Reading ${title.toLowerCase()}`}
      empty={
        query.error ? (
          <Failure error={query.error} retry={() => query.refetch()} />
        ) : filters.length ? (
          <Nothing title={`No ${title.toLowerCase()} fit these filters`}>
            <Button onClick={() => setFilters([])}>Clear filters</Button>
          </Nothing>
        ) : (
          props.empty
        )
      }
      trackBy={props.id}
      columnDefinitions={columns.map(({ id, header, cell, width }) => ({ id, header, cell, width, minWidth: 80 }))}
      columnDisplay={preferences.contentDisplay}
      wrapLines={preferences.wrapLines}
      resizableColumns
      enableKeyboardNavigation
      selectionType={props.selection}
      selectedItems={chosen}
      onSelectionChange={({ detail }) => setSelected(detail.selectedItems.map(props.id))}
      ariaLabels={{
        tableLabel: title,
        selectionGroupLabel: "Selection",
        allItemsSelectionLabel: () => "All on this page",
        itemSelectionLabel: (_, item) => props.id(item),
      }}
    />
  );
}

export function Nothing({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Box textAlign="center" padding={{ vertical: "l" }} color="inherit">
      <SpaceBetween size="m">
        <Box variant="h3" tagOverride="p" margin="n">
          {title}
        </Box>
        {children}
      </SpaceBetween>
    </Box>
  );
}

type FilterProps = { title: string; properties: Property[]; filters: Filter[]; change: (filters: Filter[]) => void };

function ServerFilter({ title, properties, filters, change }: FilterProps) {
  const taken = ({ tokens }: PropertyFilterProps.Query) =>
    change(
      tokens.flatMap(({ propertyKey, value }) =>
        propertyKey && value ? [{ key: propertyKey, value: String(value) }] : [],
      ),
    );
  return (
    <PropertyFilter
      query={{
        operation: "and",
        tokens: filters.map(({ key, value }) => ({ propertyKey: key, operator: OPERATOR, value })),
      }}
      onChange={({ detail }) => taken(detail)}
      hideOperations
      disableFreeTextFiltering
      filteringProperties={properties.map(({ key, label, group }) => ({
        key,
        operators: [OPERATOR],
        propertyLabel: label,
        groupValuesLabel: group ?? `${label}s`,
      }))}
      filteringOptions={properties.flatMap(({ key, values = [] }) =>
        values.map((value) => ({ propertyKey: key, value })),
      )}
      filteringPlaceholder={`Filter ${title.toLowerCase()}`}
      filteringAriaLabel={`Filter ${title.toLowerCase()}`}
      filteringEmpty="Type a value"
    />
  );
}

type PreferencesProps = {
  preferences: CollectionPreferencesProps.Preferences;
  columns: { id: string; header: string }[];
  sizes: number[];
  change: (next: CollectionPreferencesProps.Preferences) => void;
};

function Preferences({ preferences, columns, sizes, change }: PreferencesProps) {
  return (
    <CollectionPreferences
      title="Preferences"
      confirmLabel="Confirm"
      cancelLabel="Cancel"
      preferences={preferences}
      onConfirm={({ detail }) => change(detail)}
      pageSizePreference={{ title: "Page size", options: sizes.map((value) => ({ value, label: `${value} rows` })) }}
      wrapLinesPreference={{ label: "Wrap lines", description: "Show whole texts" }}
      contentDisplayPreference={{
        title: "Columns",
        options: columns.map(({ id, header }, index) => ({ id, label: header, alwaysVisible: index === 0 })),
      }}
    />
  );
}
