import { useRouteError } from "react-router";
import { Failure } from "../ui/Failure";

/** A page that broke: the rest of the console goes on. */
export function RouteFailure() {
  return <Failure error={useRouteError()} retry={() => location.reload()} />;
}
