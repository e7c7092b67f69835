import Spinner from "@cloudscape-design/components/spinner";
import { type ComponentType, lazy, Suspense } from "react";

/** A page whose code is fetched when somebody first goes there. */
export function page(load: () => Promise<ComponentType>) {
  const Page = lazy(async () => ({ default: await load() }));
  return (
    <Suspense fallback={<Spinner size="large" />}>
      <Page />
    </Suspense>
  );
}
