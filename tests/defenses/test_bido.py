import pytest
import torch
from torch.func import grad, vmap

from leakward.defenses import DPSGD, BiDO
from leakward.defenses.dependence import centred, coco, gaussian_kernel, hsic, linear_kernel
from leakward.errors import DefenseError
from leakward.federated import Chain, LocalTraining, NoDefense, client_update
from leakward.models import TaskSpec, build_task
from leakward.tape import Tape
from leakward.types import generator

MEASURES = {"hsic": hsic, "coco": coco}
PAIR = LocalTraining(batch_images=4)


def message(client, defense, images=None, labels=None, recipe=PAIR):
    images = client.images if images is None else images
    labels = client.labels if labels is None else labels
    state = {name: value.to(images.dtype) for name, value in client.state.items()}
    return client_update(client.task, state, images, labels, recipe, defense, Tape(generator(0))).tensors


def kernels(values, sigma, kernel):
    y = torch.tensor(values["Y"])
    return gaussian_kernel(y, sigma) if kernel == "gaussian" else linear_kernel(y)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
@pytest.mark.parametrize("sigma", [1.0, 5.0])
@pytest.mark.parametrize("measure", MEASURES)
def test_values_and_derivatives_are_those_of_the_authors_code(reference, measure, sigma, kernel):
    values = reference("bido_dependence")
    name = f"{measure}_sigma{sigma:.0f}_{kernel}"
    other = kernels(values, sigma, kernel)

    def measured(x):
        return MEASURES[measure](gaussian_kernel(x, sigma), other.to(x))

    x = torch.tensor(values["X"])
    assert float(measured(x)) == pytest.approx(float(values[name]), rel=1e-8)
    expected = torch.tensor(values[f"{name}_dX"])
    assert (grad(measured)(x) - expected).abs().max() < 1e-5 * expected.abs().max()
    tolerance = {"hsic": 5e-3, "coco": 1e-4}[measure]
    assert float(measured(x.float())) == pytest.approx(float(values[f"{name}_float32"]), rel=tolerance)


@pytest.mark.parametrize("measure", MEASURES)
def test_dependence_of_a_set_on_itself(reference, measure):
    values = reference("bido_dependence")
    x = torch.tensor(values["X"])
    fixed = gaussian_kernel(x, 5.0)
    expected = torch.tensor(values[f"self_{measure}_sigma5_gaussian_dX"])
    found = grad(lambda rows: MEASURES[measure](gaussian_kernel(rows, 5.0), fixed))(x)
    assert float(MEASURES[measure](fixed, fixed)) == pytest.approx(
        float(values[f"self_{measure}_sigma5_gaussian"]), rel=1e-8
    )
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_kernels_are_centred_as_in_the_authors_code(reference):
    values = reference("bido_dependence")
    x, y = torch.tensor(values["X"]), torch.tensor(values["Y"])
    for kernel, name in ((gaussian_kernel(x, 5.0), "X_gaussian_sigma5"), (linear_kernel(y), "Y_linear")):
        torch.testing.assert_close(centred(kernel), torch.tensor(values[f"{name}_HKH"]), rtol=1e-8, atol=1e-12)


def test_a_gaussian_kernel_of_classes_is_a_linear_one_times_a_constant():
    classes = torch.eye(4, dtype=torch.float64)[torch.arange(10) % 4]
    ratio = centred(gaussian_kernel(classes, 5.0)) / centred(linear_kernel(classes))
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))


@pytest.mark.parametrize("measure", MEASURES)
def test_rows_that_are_all_alike_depend_on_nothing_and_have_no_derivative(measure):
    other = gaussian_kernel(torch.randn(5, 3, generator=generator(0), dtype=torch.float64), 5.0)
    alike = torch.ones(5, 3, dtype=torch.float64)
    value = grad(lambda rows: MEASURES[measure](gaussian_kernel(rows, 5.0), other))(alike)
    assert float(MEASURES[measure](gaussian_kernel(alike, 5.0), other)) == pytest.approx(0, abs=1e-8)
    assert torch.equal(value, torch.zeros_like(value))


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e8])
def test_rows_of_any_size_have_a_kernel_of_at_most_1_and_finite_dependence(scale):
    """Rounding made squared distances of large rows negative, and the matrix of the solver singular."""
    classes = linear_kernel(torch.eye(8)[torch.arange(16) % 8])
    for seed in range(20):
        rows = scale * torch.randn(16, 200, generator=generator(seed))
        rows[1] = rows[0]
        kernel = gaussian_kernel(rows, 5.0)
        assert kernel.max() <= 1
        assert hsic(kernel, classes).isfinite()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("layers", [(), ("encoder.1", "encoder.3"), ("predictor",)])
def test_the_message_is_the_gradient_of_the_equation(lenet, measure, layers):
    model = lenet.task.model
    defense = BiDO(0.3, 0.7, measure=measure, layers=layers, sigma=2.0)
    images = lenet.images.double()
    found = message(lenet, defense, images)
    y = torch.eye(4, dtype=torch.float64)[lenet.labels]

    def loss(state):
        z, seen = images, {}
        for half in ("encoder", "predictor"):
            for name, layer in model.get_submodule(half).named_children():
                inner = {n: state[f"{half}.{name}.{n}"] for n, _ in layer.named_parameters()}
                seen[f"{half}.{name}.input"] = z
                z = seen[f"{half}.{name}"] = torch.func.functional_call(layer, inner, (z,))
            seen[half] = z
        total = torch.nn.functional.cross_entropy(z, lenet.labels)
        for name in layers or ("predictor.1.input",):
            kernel = gaussian_kernel(seen[name].flatten(1), 2.0)
            total = total + 0.3 * MEASURES[measure](gaussian_kernel(images.flatten(1), 2.0), kernel)
            total = total - 0.7 * MEASURES[measure](linear_kernel(y), kernel)
        return total

    expected = grad(loss)({name: value.double() for name, value in lenet.state.items()})
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9 * float(value.abs().max()))
    assert not any(module._forward_hooks for module in model.modules())


def test_without_weights_it_is_no_defence(lenet):
    plain, defended = message(lenet, NoDefense()), message(lenet, BiDO(0.0, 0.0))
    assert all(torch.equal(plain[name], defended[name]) for name in plain)


def test_class_indices_and_probabilities_are_the_same(lenet):
    one_hot = torch.eye(4)[lenet.labels]
    one, two = message(lenet, BiDO()), message(lenet, BiDO(), labels=one_hot)
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_batch_of_one_class_is_no_trouble(lenet, measure):
    found = message(lenet, BiDO(measure=measure), labels=torch.zeros(4, dtype=torch.long))
    assert all(torch.isfinite(value).all() for value in found.values())


def test_victims_side_by_side_are_victims_one_by_one(lenet):
    def send(images, labels):
        return message(lenet, BiDO(), images, labels)

    images = torch.rand(3, *lenet.images.shape, generator=generator(1), dtype=torch.float64)
    labels = torch.stack([lenet.labels, lenet.labels.flip(0), lenet.labels.roll(1)])
    together = vmap(send)(images, labels)
    for i in range(3):
        alone = send(images[i], labels[i])
        for name, value in alone.items():
            torch.testing.assert_close(together[name][i], value, rtol=1e-6, atol=1e-9)


def test_it_works_in_train_mode_on_networks_of_any_build(batchnorm):
    found = message(batchnorm, BiDO(layers=("encoder.1",)), recipe=LocalTraining(batch_images=4, mode="train"))
    assert all(torch.isfinite(value).all() for value in found.values())


def test_an_attacker_may_replay_one_image_of_a_batch(lenet):
    alone = lenet.images[:1], lenet.labels[:1]
    plain, replayed = message(lenet, NoDefense(), *alone), message(lenet, BiDO().replay(), *alone)
    assert all(torch.equal(plain[name], replayed[name]) for name in plain)
    whole, defended = message(lenet, BiDO().replay()), message(lenet, BiDO())
    assert all(torch.equal(whole[name], defended[name]) for name in whole)


def test_what_it_cannot_do_is_refused(lenet):
    with pytest.raises(DefenseError, match="at least 2 images"):
        message(lenet, BiDO(), lenet.images[:1], lenet.labels[:1])
    with pytest.raises(DefenseError, match="compares images beside one on per-image gradients"):
        Chain((BiDO(), DPSGD()))
    with pytest.raises(DefenseError, match=r"'encoder\.9'; choose among encoder, encoder\.0"):
        BiDO(layers=("encoder.9",)).on_task(lenet.task)
    task = build_task(TaskSpec("tiny_headless:build", (3, 8, 8), 4))
    with pytest.raises(DefenseError, match="unless layers are named"):
        BiDO().on_task(task)
    assert BiDO(layers=("0",)).on_task(task) is task
