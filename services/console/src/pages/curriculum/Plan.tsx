import { Badge, Card, Group, Stack, Text, Title } from "@mantine/core";

import { Failure } from "../../components/Failure";
import { figure, type PipelinePreflight } from "../../forms/preflight";
import { Figures, Problems } from "../../forms/PreflightPanel";

interface Props {
  seen: PipelinePreflight | undefined;
  error: unknown;
  isBehind: boolean;
}

/** What the whole curriculum takes, and each step of it, before anything is started. */
export function Plan({ seen, error, isBehind }: Props) {
  const steps = Object.entries(seen?.steps ?? {});
  const warnings = steps.flatMap(([name, step]) => step.warnings.map((each) => ({ pointer: "", detail: `${name}: ${each.detail}` })));
  return (
    <Card withBorder component="section" aria-labelledby="plan" aria-busy={isBehind}>
      <Group justify="space-between" mb="sm">
        <Title order={2} size="h4" id="plan">The plan</Title>
        <Badge variant="light" tt="none" className="state" color={isBehind ? "gray" : seen?.valid ? "green" : "red"} role="status" data-valid={!isBehind && Boolean(seen?.valid)}>
          {isBehind ? "looking …" : seen?.valid ? "can be started" : "not yet"}
        </Badge>
      </Group>
      <Stack gap="sm">
        {error != null && <Failure error={error} />}
        {seen && <Problems problems={seen.errors} color="red" title="To be mended" />}
        {seen?.valid && (
          <>
            <Figures rows={[["time", seen.duration], ["GPU hours", seen.gpu_hours], ["samples", seen.samples], ["training steps", seen.training_steps], ["storage", seen.storage]]} />
            <div className="scroll" tabIndex={0} role="region" aria-label="Steps of the plan">
              <table className="rows">
                <thead><tr><th scope="col">Step</th><th scope="col" className="num">Samples</th><th scope="col" className="num">Steps</th><th scope="col" className="num">Time</th></tr></thead>
                <tbody>
                  {steps.map(([name, step]) => (
                    <tr key={name}>
                      <td>{name}<Text size="xs" c="dimmed">{step.kind}</Text></td>
                      <td className="num">{step.samples?.value == null ? "–" : figure(step.samples)}</td>
                      <td className="num">{step.steps?.value == null ? "–" : figure(step.steps)}</td>
                      <td className="num">{step.duration?.value == null ? "–" : figure(step.duration)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <Problems problems={warnings} color="orange" title="May not be meant so" />
          </>
        )}
        {!seen && error == null && <Text size="sm" c="dimmed">Samples, steps, time and room of every step appear here when each stage has a dataset.</Text>}
      </Stack>
    </Card>
  );
}
