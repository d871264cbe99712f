"""Scores of a model on held-out batches."""

import math

import torch


def evaluate(model, batches):
    """Mean loss, accuracy, Matthews correlation and F1, without noise."""
    total, predicted, actual = 0.0, [], []
    model.eval()
    with torch.no_grad():
        for inputs, labels in batches:
            logits = model(**inputs).logits
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            predicted += logits.argmax(dim=1).tolist()
            actual += labels.tolist()
    model.train()
    classes = {
        "accuracy": sum(map(int.__eq__, predicted, actual)) / len(actual),
        "matthews": matthews(predicted, actual),
        "f1": macro_f1(predicted, actual),
    }
    return {"loss": total / len(actual), "classes": classes}


def better(scores, than, metric):
    """A higher value of the metric, or the same and a lower loss."""
    if metric != "loss":
        ours, theirs = scores["classes"][metric], than["classes"][metric]
        if ours != theirs:
            return ours > theirs
    return scores["loss"] < than["loss"]


def matthews(predicted, actual):
    """Gorodkin's correlation of several classes; 0 where one side is constant."""
    classes = sorted(set(predicted) | set(actual))
    count = len(actual)
    hits = sum(map(int.__eq__, predicted, actual))
    p = [predicted.count(k) for k in classes]
    t = [actual.count(k) for k in classes]
    covariance = hits * count - sum(a * b for a, b in zip(p, t))
    spread = (count**2 - sum(a * a for a in p)) * (count**2 - sum(b * b for b in t))
    return covariance / math.sqrt(spread) if spread > 0 else 0.0


def macro_f1(predicted, actual):
    """Mean F1 of the classes that occur."""
    values = []
    for k in sorted(set(predicted) | set(actual)):
        hits = sum(a == b == k for a, b in zip(predicted, actual))
        values.append(2 * hits / (predicted.count(k) + actual.count(k)))
    return sum(values) / len(values)
