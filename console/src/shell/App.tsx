import { createBrowserRouter, Navigate, RouterProvider } from "react-router";
import { region, useRegion, useSignedIn } from "../aws/signedIn";
import { SignInPage } from "../capabilities/access/SignInPage";
import { Link } from "../ui/links";
import { Nothing } from "../ui/ResourceTable";
import { CAPABILITIES, HOME } from "./capabilities";
import { RouteFailure } from "./RouteFailure";
import { Shell } from "./Shell";

const router = createBrowserRouter(
  [
    {
      element: <Shell />,
      errorElement: <RouteFailure />,
      children: [
        { index: true, element: <Navigate to={HOME} replace /> },
        { path: "sign-in", element: <Navigate to={HOME} replace /> },
        ...CAPABILITIES.flatMap(({ routes }) => routes.map((route) => ({ ...route, errorElement: <RouteFailure /> }))),
        {
          path: "*",
          element: (
            <Nothing title="There is no such page">
              <Link to={HOME}>To the nodes</Link>
            </Nothing>
          ),
        },
      ],
    },
  ],
  { basename: "/console" },
);

export function App() {
  const signedIn = useSignedIn();
  useRegion();
  if (!signedIn) return <SignInPage />;
  return <RouterProvider key={`${signedIn.accountId} ${region()}`} router={router} />;
}
