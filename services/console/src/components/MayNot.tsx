import { Alert } from "@mantine/core";

/** Says to whoever has a viewer's key what it cannot do, and what can. */
export function MayNot({ what, children }: { what: string; children?: React.ReactNode }) {
  return (
    <Alert color="orange" variant="light" mb="md" title={`This key cannot ${what}`}>
      A viewer's key looks at everything; to {what} needs the key of an operator.{children}
    </Alert>
  );
}
