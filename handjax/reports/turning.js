// Poses in space on a canvas: turned by time, by the pointer and by the arrow keys.
"use strict";
for (const block of document.querySelectorAll(".turning")) {
  const {bones, colours, poses} = JSON.parse(block.querySelector("script").textContent);
  const [canvas, choice, button] = ["canvas", "select", "button"].map(
    (name) => block.querySelector(name));
  const context = canvas.getContext("2d");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let yaw = 0, pitch = 0, turns = !still, seen = false, dragged = null, last = 0;

  function middle(joints) {  // of the box around the joints, and how far they are from it
    const known = joints.filter((joint) => joint);
    const low = [0, 1, 2].map((axis) => Math.min(...known.map((joint) => joint[axis])));
    const high = [0, 1, 2].map((axis) => Math.max(...known.map((joint) => joint[axis])));
    const center = low.map((value, axis) => (value + high[axis]) / 2);
    const far = known.map((joint) => Math.hypot(...joint.map((x, axis) => x - center[axis])));
    return [center, Math.max(...far) || 1];
  }

  function draw() {
    const [pred, truth] = poses[choice.selectedIndex];
    const side = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * ratio);
    context.scale(ratio, ratio);
    context.lineCap = "round";
    const [center, radius] = middle(truth ? pred.concat(truth) : pred);
    const scale = 0.46 * side / radius;
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const turned = (joint) => {  // x right, y down, z away, about the middle
      if (!joint) return null;
      const [x, y, z] = joint.map((value, axis) => value - center[axis]);
      const [across, away] = [cy * x + sy * z, cy * z - sy * x];
      return [side / 2 + scale * across, side / 2 + scale * (cp * y - sp * away),
        sp * y + cp * away];
    };
    const ink = getComputedStyle(canvas).color;
    const parts = [];  // depth, and what draws it: far ones first
    const add = (joints, isTruth) => {
      const at = joints.map(turned);
      for (const [a, b] of bones) {
        if (!at[a] || !at[b]) continue;
        parts.push([(at[a][2] + at[b][2]) / 2, () => {
          context.setLineDash(isTruth ? [4, 4] : []);
          context.lineWidth = isTruth ? 1.5 : 3.5;
          context.strokeStyle = isTruth ? ink : colours[b];
          context.beginPath();
          context.moveTo(at[a][0], at[a][1]);
          context.lineTo(at[b][0], at[b][1]);
          context.stroke();
        }]);
      }
      at.forEach((joint, number) => joint && parts.push([joint[2] - 1e-3, () => {
        context.setLineDash([]);
        context.lineWidth = 1.2;
        context.beginPath();
        context.arc(joint[0], joint[1], isTruth ? 3.5 : 4.5, 0, 2 * Math.PI);
        context.strokeStyle = ink;
        context.fillStyle = colours[number];
        isTruth ? context.stroke() : context.fill();
      }]));
    };
    add(pred, false);
    if (truth) add(truth, true);
    parts.sort((one, other) => other[0] - one[0]).forEach(([, paint]) => paint());
  }

  function turn(now) {
    if (!turns || !seen) return;
    yaw += Math.min(now - last, 100) * 6e-4;
    last = now;
    draw();
    requestAnimationFrame(turn);
  }

  function set(on) {
    turns = on;
    button.textContent = on ? "Stop" : "Turn";
    if (on) requestAnimationFrame((now) => { last = now; turn(now); });
  }

  button.addEventListener("click", () => set(!turns));
  choice.addEventListener("change", draw);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    set(false);
    dragged = [event.clientX, event.clientY];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    yaw += (event.clientX - dragged[0]) * 0.01;
    pitch += (dragged[1] - event.clientY) * 0.01;
    dragged = [event.clientX, event.clientY];
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { dragged = null; });
  }
  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    set(false);
    yaw += 0.15 * step[0];
    pitch += 0.15 * step[1];
    draw();
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new IntersectionObserver(([entry]) => {
    const began = entry.isIntersecting && !seen;
    seen = entry.isIntersecting;
    if (began) set(turns);
  }).observe(canvas);
  block.hidden = false;
  set(turns);
}
