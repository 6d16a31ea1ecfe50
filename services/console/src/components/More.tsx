import { Button } from "@mantine/core";
import type { ReactNode } from "react";

interface Pages {
  hasNextPage: boolean;
  isFetching: boolean;
  fetchNextPage: () => Promise<unknown>;
}

/** The next page of a list, as long as there is one. */
export function More({ of, children = "More" }: { of: Pages; children?: ReactNode }) {
  if (!of.hasNextPage) return null;
  return <Button mt="md" variant="default" loading={of.isFetching} onClick={() => void of.fetchNextPage()}>{children}</Button>;
}
