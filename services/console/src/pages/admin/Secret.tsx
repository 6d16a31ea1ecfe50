import { Alert, Button, Code, Group, Text } from "@mantine/core";

import type { NewKey } from "../../api/admin";
import { Copy } from "../../components/Copy";

/** A secret, shown this once. */
export function Secret({ made, done }: { made: NewKey; done: () => void }) {
  return (
    <Alert color="blue" variant="light" title={`The secret of ${made.key.name}`} role="alert">
      <Text size="sm">It is shown this once: the platform keeps its SHA-256 alone. Give it to whoever needs it on a safe way.</Text>
      <Code block mt="xs" data-secret>{made.secret}</Code>
      <Group mt="xs">
        <Copy text={made.secret} />
        <Button size="xs" variant="default" onClick={done}>I have it</Button>
      </Group>
    </Alert>
  );
}
