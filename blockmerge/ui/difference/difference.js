// Between the server and the strip under the bars, which is drawn by the Equaliser.
const tell = () => document.dispatchEvent(new CustomEvent("blockmerge-difference", { detail: props.value || null }));
document.addEventListener("blockmerge-measure", () => trigger("measure"));
watch("value", tell);
tell();
