import { Card, Group, SegmentedControl, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { type Evaluation, evaluationQuery } from "../../api/models";
import { Failure } from "../../components/Failure";
import { Matrix, type Cell } from "../../components/Matrix";
import { number } from "../../format";

type Report = NonNullable<Evaluation["forgetting"]>;
type Measured = Report["table"][number];
type Name = "loss" | "fresh_loss" | "accuracy" | "cka" | "cosine";

const NAMES: { value: Name; label: string; says: string }[] = [
  { value: "loss", label: "Loss", says: "pretext loss with the head of the stage that learnt the modality; the stronger the colour, the more was lost since" },
  { value: "fresh_loss", label: "New head", says: "the same with a new head on the frozen encoder" },
  { value: "accuracy", label: "Accuracy", says: "balanced accuracy of a probe of the classes; the stronger the colour, the more was lost since" },
  { value: "cka", label: "CKA", says: "likeness of the features to those of the stage before: 1 is the same" },
  { value: "cosine", label: "Cosine", says: "mean cosine of the features with those of the stage before" },
];
/** Lost share of the loss at which the colour is full: a quarter is a lot. */
const FULL = 0.25;

/** How much worse a value is than the best since the modality was learnt. */
function lost(name: Name, value: number, earlier: readonly number[]): number | null {
  if (name === "cka" || name === "cosine") return Math.max(0, 1 - value) / FULL;
  if (!earlier.length) return 0;
  if (name === "accuracy") return Math.max(0, Math.max(...earlier) - value) / FULL;
  return Math.max(0, value / Math.min(...earlier) - 1) / FULL;
}

/** What the newest stages have kept of each modality, as a heat map. */
export function Forgetting({ id }: { id: string }) {
  const found = useQuery(evaluationQuery(id));
  const [name, setName] = useState<Name>("loss");
  if (found.error) return <Failure error={found.error} />;
  const report = found.data?.forgetting;
  if (!report) return null;
  const known = NAMES.filter((each) => report.table.some((cell) => cell[each.value] != null));
  const chosen = known.find((each) => each.value === name) ?? known[0];
  if (!chosen) return null;
  return (
    <Card withBorder component="section" aria-labelledby="forgetting">
      <Group justify="space-between" mb="xs">
        <Title order={2} size="h4" id="forgetting">What it has kept</Title>
        <SegmentedControl size="xs" value={chosen.value} onChange={(to) => setName(to as Name)} data={known} aria-label="Measure" />
      </Group>
      <Heat report={report} name={chosen.value} />
      <Text size="xs" c="dimmed" mt={4}>{chosen.label}: {chosen.says}.</Text>
      <Kept report={report} />
    </Card>
  );
}

function Heat({ report, name }: { report: Report; name: Name }) {
  const modalities = Object.keys(report.samples);
  const at = (stage: number, modality: string): Measured | undefined => report.table.find((cell) => cell.stage === stage && cell.modality === modality);
  const rows = report.stages.map((stage, number_) => ({
    id: stage.model,
    name: `${stage.stage} ${stage.learnt.join(", ")}`,
    cells: modalities.map((modality): Cell | null => {
      const value = at(number_, modality)?.[name];
      if (value == null) return null;
      const earlier = report.stages.slice(0, number_).flatMap((_, before) => at(before, modality)?.[name] ?? []);
      const share = lost(name, value, earlier);
      const told = share ? `, ${number(100 * share * FULL)} % ${name === "accuracy" ? "points " : ""}lost` : "";
      return { text: number(value), share, title: `${modality} after stage ${stage.stage}: ${number(value)}${told}` };
    }),
  }));
  return <Matrix label="Forgetting by stage and modality" corner="after stage" columns={modalities} rows={rows} tone="orange" />;
}

function Kept({ report }: { report: Report }) {
  if (!report.kept.length) return null;
  return (
    <table className="rows" aria-label="Forgotten since it was learnt">
      <thead>
        <tr>
          <th scope="col">Modality</th><th scope="col" className="num">Forgetting</th><th scope="col" className="num">Backward transfer</th>
          <th scope="col" className="num">Accuracy lost</th><th scope="col" className="num">Samples</th>
        </tr>
      </thead>
      <tbody>
        {report.kept.map((each) => (
          <tr key={each.modality}>
            <td>{each.modality}</td><td className="num">{number(each.forgetting)}</td><td className="num">{number(each.backward_transfer)}</td>
            <td className="num">{number(each.accuracy_forgetting)}</td><td className="num">{number(report.samples[each.modality])}</td>
          </tr>
        ))}
        <tr><th scope="row">mean</th><td className="num">{number(report.average_forgetting)}</td><td className="num">{number(report.backward_transfer)}</td><td /><td /></tr>
      </tbody>
    </table>
  );
}
