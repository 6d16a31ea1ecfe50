import { Alert, Anchor, Badge, Card, Group, List, Stack, Text, Title } from "@mantine/core";

import { Failure } from "../components/Failure";
import { type FieldProblem, type Figure, figure, type Preflight } from "./preflight";

function isMissing(problem: FieldProblem): boolean {
  return problem.detail === "Field required";
}

/** Leads to the field that a pointer means, as far as the form shows it. */
function goTo(pointer: string): void {
  const parts = pointer.replace(/^\/(spec|curriculum)/, "").split("/");
  while (parts.length > 1) {
    const found = document.getElementById(`field${parts.join("/")}`.replaceAll("/", "-"));
    if (found) {
      found.scrollIntoView({ block: "center" });
      found.querySelector<HTMLElement>("input, textarea, button")?.focus();
      return;
    }
    parts.pop();
  }
}

export function nameOf(pointer: string): string {
  return pointer.replace(/^\/(spec|curriculum)\//, "").replace(/^\//, "").replaceAll("/", ".");
}

/** Problems with the names of their fields, each a way to it. */
export function Problems({ problems, color, title }: { problems: readonly FieldProblem[]; color: string; title: string }) {
  if (!problems.length) return null;
  return (
    <Alert color={color} variant="light" title={title} className="problems">
      <List size="sm" spacing={4}>
        {problems.slice(0, 20).map((each) => (
          <List.Item key={each.pointer + each.detail}>
            {each.pointer && <Anchor component="button" type="button" size="sm" underline="always" c="inherit" fw={600} onClick={() => goTo(each.pointer)}>{nameOf(each.pointer)}</Anchor>}
            {each.pointer ? `: ${each.detail}` : each.detail}
          </List.Item>
        ))}
      </List>
    </Alert>
  );
}

export function Figures({ rows }: { rows: readonly [string, Figure | null | undefined][] }) {
  return (
    <dl className="figures">
      {rows.filter(([, found]) => found).map(([name, found]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd><Text size="sm" fw={600} component="span">{figure(found)}</Text><Text size="xs" c="dimmed">{found?.how}</Text></dd>
        </div>
      ))}
    </dl>
  );
}

interface Props {
  seen: Preflight | undefined;
  error: unknown;
  isBehind: boolean;
}

/** What would come of the job if it were submitted as the form stands. */
export function PreflightPanel({ seen, error, isBehind }: Props) {
  const missing = seen?.errors.filter(isMissing) ?? [];
  const wrong = seen?.errors.filter((each) => !isMissing(each)) ?? [];
  return (
    <Card withBorder component="section" aria-labelledby="preflight" aria-busy={isBehind}>
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4" id="preflight">What it takes</Title>
        <Badge variant="light" tt="none" className="state" color={isBehind ? "gray" : seen?.valid ? "green" : "red"} role="status" data-valid={!isBehind && Boolean(seen?.valid)}>
          {isBehind ? "looking …" : seen?.valid ? "can be submitted" : "not yet"}
        </Badge>
      </Group>
      <Stack gap="sm">
        {error != null && <Failure error={error} />}
        {missing.length > 0 && <Text size="sm">Still needed: {missing.map((each) => nameOf(each.pointer)).join(", ")}.</Text>}
        <Problems problems={wrong} color="red" title="To be mended" />
        {seen?.runs_on && (
          <>
            <Figures rows={[
              ["time", seen.duration], ["samples", seen.samples], ["batches an epoch", seen.batches], ["steps", seen.steps],
              ["parameters", seen.parameters], [`memory (${seen.runs_on.toUpperCase()})`, seen.memory], ["storage", seen.storage],
            ]} />
            <Problems problems={seen.warnings} color="orange" title="May not be meant so" />
            {seen.waits_for.length > 0 && (
              <Alert color="blue" variant="light" title="It would wait">
                <List size="sm">{seen.waits_for.map((each) => <List.Item key={each.what + each.detail}>{each.detail}</List.Item>)}</List>
              </Alert>
            )}
            {seen.checked_at_start.length > 0 && (
              <Text size="xs" c="dimmed">Looked at when it starts: {seen.checked_at_start.map((each) => `${nameOf(each.pointer)}: ${each.detail}`).join("; ")}</Text>
            )}
          </>
        )}
        {!seen && error == null && <Text size="sm" c="dimmed">Samples, steps, time, memory and room appear here as you fill in the form.</Text>}
      </Stack>
    </Card>
  );
}
