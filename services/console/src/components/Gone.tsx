import { Alert } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import { Refused } from "../api/client";

/** How often a page looks whether what it shows is still there. */
export const LOOKS_MS = 30_000;

/** While a query has no answer but what was there before: the answer that it is no longer there. */
export const isGone = (error: unknown): boolean => error instanceof Refused && error.status === 404;

/** What stands in place of a page whose dataset or model was deleted while it was open. */
export function Gone({ what, name, to }: { what: string; name: string; to: "/datasets" | "/models" }) {
  return (
    <Alert color="orange" variant="light" title={`This ${what} is no longer there`} role="alert">
      {name} has been deleted since this page was opened, or its project is no longer yours to see. <Link className="link" to={to}>All {what}s</Link>
    </Alert>
  );
}
