import { Stack, Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";

export function NotThere() {
  return (
    <Stack gap="xs">
      <Title order={1} size="h2">There is no such page</Title>
      <Text>The address may be cut off. <Link className="link" to="/">Home</Link> leads everywhere.</Text>
    </Stack>
  );
}
