"""The example of the README: one prediction of a classifier, explained by an equation around it."""

from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from symcompile import explain

X, y = load_iris(return_X_y=True, as_frame=True)
species = y.map(dict(enumerate(["setosa", "versicolor", "virginica"])))
network = MLPClassifier((32, 32), max_iter=2000, random_state=0)
model = make_pipeline(StandardScaler(), network).fit(X, species)

explanation = explain(model, X.iloc[70], X, outputs="virginica")
print(explanation)
