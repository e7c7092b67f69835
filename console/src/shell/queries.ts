/** What was read of the server: the one place that holds its data. */
import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { codeOf, credentialsEnded } from "../aws/errors";
import { onSignedInChange, region, signedIn } from "../aws/signedIn";
import { askToSignInAgain } from "../capabilities/access/EndingSignIn";

const looked = (error: unknown) => {
  if (signedIn() && credentialsEnded(error)) askToSignInAgain();
};

export const queries = new QueryClient({
  queryCache: new QueryCache({ onError: looked }),
  mutationCache: new MutationCache({ onError: looked }),
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      retry: (count, error) => count < 2 && ["TypeError", "ThrottlingException"].includes(codeOf(error)),
    },
  },
});

const whose = () => `${signedIn()?.accountId} ${signedIn()?.arn} ${region()}`;
let before = whose();

// Another person, account or region: nothing of what was read belongs there. Else it is read again, as it may have failed.
onSignedInChange(() => {
  const present = whose();
  if (present !== before) queries.clear();
  else queries.invalidateQueries();
  before = present;
});
