// The header: the job that runs, what is free, and "(1) Done" in the title while nobody looks.
const root = element.querySelector(".status");
const job = set(make("button", "now"), { type: "button", hidden: true });
const mini = set(make("span", "mini"), { "aria-hidden": "true" });
const words = make("span", "text");
const memory = make("span", "memory");
const disk = make("span", "disk");
const title = document.title;
let known = null; // the jobs that were done when somebody looked last
let now = [];

job.append(mini, words);
root.append(job, memory, disk);
job.addEventListener("click", () => trigger("show", { do: "show", job: props.value.job.id }));

const name = () => {
  if (!document.hidden) known = new Set(now);
  const fresh = now.filter((id) => !known.has(id)).length;
  document.title = fresh ? say("header.done_title", { count: fresh, title }) : title;
};
document.addEventListener("visibilitychange", name);
const load = () => {
  const { value } = props;
  if (!value?.disk) return;
  job.hidden = !value.job;
  if (value.job) {
    mini.style.setProperty("--share", value.job.percent);
    if (words.textContent !== value.job.text) words.textContent = value.job.text;
  }
  memory.textContent = value.memory;
  disk.textContent = value.disk;
  now = value.done;
  known ??= new Set(now);
  name();
};

// The colours that this browser has chosen; Gradio itself follows the system
const THEME = "blockmerge-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const paint = (theme) => document.body.classList.toggle("dark", theme === "dark" || (theme !== "light" && system.matches));
const kept = () => {
  try {
    return localStorage.getItem(THEME) ?? "system";
  } catch {
    return "system"; // a browser that keeps nothing
  }
};
document.addEventListener(THEME, ({ detail }) => {
  try {
    localStorage.setItem(THEME, detail);
  } catch {
    // as above
  }
  paint(detail);
});
system.addEventListener("change", () => setTimeout(() => paint(kept()))); // behind Gradio's own answer
if (kept() !== "system") paint(kept());

watch("value", load);
load();
